-- delete: delete a response and leave a tombstone, which refuses its writer.
--
-- KEYS  1 meta (hash)   2 events   3 final event   4 input   5 lease index (zset)
-- ARGV  1 the names of the owner   2 id   3 how long the tombstone lives (ms)   4 prefix of a worker's channel
-- Returns 1, or 0 if the response is unknown, deleted or another owner's

local function is_owner(kept)
  for name in string.gmatch(ARGV[1], '%S+') do
    if name == kept then return true end
  end
  return false
end

local m = redis.call('HMGET', KEYS[1], 'ow', 'st', 'f', 'wk', 'fw')
if not m[1] or not is_owner(m[1]) or m[2] == 'deleted' then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'ow', '', 'st', 'deleted', 'f', m[3] + 1, 'n', -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[5], ARGV[2])
for worker in string.gmatch(m[5] or '', '%S+') do
  redis.call('PUBLISH', ARGV[4] .. worker, 'e' .. ARGV[2])
end
return 1
