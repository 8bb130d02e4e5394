-- claim: take the lease of a response whose lease has run out, under a new fence.
--
-- KEYS  1 meta (hash)   2 lease index (zset)
-- ARGV  1 id   2 worker   3 lease (ms)   4 attempts allowed
-- Returns {code, fence, last, cancel, up, owner, makers of its input's items, what its usage is booked to}
--    1  claimed: the response may be generated, and is written with this fence
--    0  not overdue, or ended (then removed from the index)
--   -1  claimed, and only its end may be written: it was cancelled, or its output was seen and cannot
--       be continued, or its attempts are used up
--   -2  no such record (removed from the index)
--
-- A lease that was released costs no attempt.
-- Each successful claim raises the fence by one: the earlier holder of the lease is fenced.

local m = redis.call('HMGET', KEYS[1], 'st', 'f', 'n', 'lx', 'cx', 'rr', 'vi', 'up', 'rl', 'ow', 'im', 'pa')
if not m[1] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {-2, 0, -1, 0, '', '', '', ''}
end
local last, cancel, up = tonumber(m[3]), m[5] and 1 or 0, m[8] or ''
if m[1] ~= 'in_progress' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {0, tonumber(m[2]), last, cancel, up, m[10], m[11] or '', m[12] or ''}
end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if tonumber(m[4] or 0) > now then return {0, tonumber(m[2]), last, cancel, up, m[10], m[11] or '', m[12] or ''} end -- guard: lease

local fence = redis.call('HINCRBY', KEYS[1], 'f', 1)
redis.call('HSET', KEYS[1], 'wk', ARGV[2], 'lx', string.format('%.0f', now + ARGV[3]), 'tk', '1')
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[2], 3600000, 'NX') -- only a new index has no expiry: the old one was lost

local again = m[6] == 'run'
  and not m[7] -- guard: rerun
  and fence - (m[9] or 0) <= tonumber(ARGV[4]) -- guard: attempts
local continues = (m[6] or '') ~= '' and up ~= ''
if cancel == 0 and (again or continues) then return {1, fence, last, cancel, up, m[10], m[11] or '', m[12] or ''} end
return {-1, fence, last, cancel, up, m[10], m[11] or '', m[12] or ''}
