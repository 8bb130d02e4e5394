-- follow: ask for hints about a response for some time, and notify its writer.
--
-- KEYS  1 meta (hash)
-- ARGV  1 worker that follows   2 for how long (ms)   3 id   4 prefix of a worker's channel
-- Returns {last, running, overdue}; last is -2 if there is no such record

local m = redis.call('HMGET', KEYS[1], 'n', 'st', 'lx', 'fw', 'fl', 'wk')
if not m[1] then return {-2, 0, 0} end
if m[2] ~= 'in_progress' then return {tonumber(m[1]), 0, 0} end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local workers = m[4] or ''
if not string.find(workers, ARGV[1] .. ' ', 1, true) then workers = workers .. ARGV[1] .. ' ' end
if not m[5] or tonumber(m[5]) <= now then
  redis.call('PUBLISH', ARGV[4] .. m[6], 'f' .. ARGV[3])
end
redis.call('HSET', KEYS[1], 'fl', string.format('%.0f', now + ARGV[2]), 'fw', workers)
return {tonumber(m[1]), 1, tonumber(m[3] or 0) <= now and 1 or 0}
