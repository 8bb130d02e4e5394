-- append: append events to the log and renew the lease; the terminal event ends the response.
--
-- KEYS  1 meta (hash)   2 events (stream)   3 final event (string)   4 input   5 lease index (zset)
--       with a booking: 6 the day's usage of the key's name (hash)   7 what the day cost (hash)
-- ARGV  1 id   2 worker   3 fence   4 first number   5 last number (first - 1: only renew)
--       6 lease (ms)   7 ttl (ms)   8 terminal status or ''   9 final event (compressed) or ''
--       10 '1': output is in it   11 '1': the numbers before the first are lost for good
--       12 the provider's id or ''   13 prefix of a worker's channel
--       14 the new record (compressed), or ''
--       15 the side data that goes with the end (compressed), or ''
--       16 how many arguments the booking has: 0, or more; these are the next ones:
--          its ttl (ms)   the key's name   the cost (billionths of a USD)
--          … the fields of KEYS 6, each as its name and what is added
--       … the entries, each as its last number and its payload
-- Returns {code, last, cancel, followed}
--    1  written; last = the log's new last number
--    0  duplicate: the log has every number (the answer to an earlier try was lost); a running
--       response's lease is renewed
--   -1  fenced: another worker owns the response, or it was deleted; last = its fence
--   -2  no such record: flushed, evicted, or a failover to an older copy
--   -3  the response has already ended
--   -4  gap: first is not last + 1; send again from last + 1
--
-- The order of the checks matters: the fence comes first (a stale worker gets no other answer), and
-- the duplicate before the terminal check (the retry of the end itself must succeed).
-- The log is rewritten in full entries when the end comes with all events from number 0 on.
-- The final event is not in the log: readers find it in its own key.
-- The booking is made with the end and with no other write, so once. It never holds up the end.
-- An entry's id is <its last number + 1>-0: after `cursor` come the entries of XRANGE (<cursor + 1>.

local m = redis.call('HMGET', KEYS[1], 'f', 'wk', 'n', 'st', 'cx', 'fl', 'fw')
if not m[1] then return {-2, -1, 0, 0} end
local fence, mine = tonumber(m[1]), tonumber(ARGV[3])
local last, status = tonumber(m[3]), m[4]
local cancel = m[5] and 1 or 0

if fence > mine or status == 'deleted' then return {-1, fence, 0, 0} end -- guard: fence
if fence == mine and m[2] ~= ARGV[2] then return {-1, fence, 0, 0} end -- guard: fence
if fence < mine then -- an older copy, without this claim: the higher fence wins
  redis.call('HSET', KEYS[1], 'f', ARGV[3], 'wk', ARGV[2])
end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local followed = (m[6] and tonumber(m[6]) > now) and 1 or 0
local first, hi = tonumber(ARGV[4]), tonumber(ARGV[5])

local is_new = hi >= first
if hi <= last then is_new = false end -- guard: duplicate
if status ~= 'in_progress' then return {is_new and -3 or 0, last, 0, 0} end -- guard: terminal

local expiry = now + ARGV[6]
local ends = is_new and ARGV[8] ~= ''
local rewrite = ends and first == 0 and ARGV[11] ~= '1'
if is_new then
  local fits = first == last + 1 or rewrite or (ARGV[11] == '1' and first > last)
  if not fits then return {-4, last, cancel, followed} end -- guard: gap
  if rewrite then redis.call('DEL', KEYS[2]) end
  for i = 17 + ARGV[16], #ARGV, 2 do
    redis.call('XADD', KEYS[2], (ARGV[i] + 1) .. '-0', 'e', ARGV[i + 1])
  end
  redis.call('HSET', KEYS[1], 'n', ARGV[5])
  if ARGV[10] == '1' then redis.call('HSET', KEYS[1], 'vi', '1') end
  if ARGV[11] == '1' then redis.call('HINCRBY', KEYS[1], 'gp', 1) end
end
if ARGV[12] ~= '' then redis.call('HSET', KEYS[1], 'up', ARGV[12]) end
if ARGV[14] ~= '' then redis.call('SET', KEYS[4], ARGV[14]) end -- it expires below

if ends then
  redis.call('SET', KEYS[3], ARGV[9], 'PX', ARGV[7])
  redis.call('HSET', KEYS[1], 'st', ARGV[8], 'lx', 0)
  redis.call('HDEL', KEYS[1], 'rr', 'vi', 'up', 'cx', 'fl', 'fw') -- of no use after the end
  if ARGV[15] ~= '' then redis.call('HSET', KEYS[1], 'side', ARGV[15]) end
  redis.call('ZREM', KEYS[5], ARGV[1])
  if KEYS[6] then
    for i = 20, 16 + ARGV[16], 2 do redis.pcall('HINCRBY', KEYS[6], ARGV[i], ARGV[i + 1]) end
    redis.pcall('HINCRBY', KEYS[7], ARGV[18], ARGV[19])
    for i = 6, 7 do redis.pcall('PEXPIRE', KEYS[i], ARGV[17]) end
  end
else
  redis.call('HSET', KEYS[1], 'lx', string.format('%.0f', expiry))
  redis.call('ZADD', KEYS[5], expiry, ARGV[1])
  redis.call('PEXPIRE', KEYS[5], ARGV[7])
end
for i = 1, 4 do
  if i ~= 3 then redis.call('PEXPIRE', KEYS[i], ARGV[7]) end
end
if followed == 1 and is_new then
  for worker in string.gmatch(m[7], '%S+') do
    redis.call('PUBLISH', ARGV[13] .. worker, 'e' .. ARGV[1])
  end
end
return {is_new and 1 or 0, math.max(hi, last), cancel, followed}
