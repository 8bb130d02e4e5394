-- index: remember the response that has an item, forget it, or find it. The latest one counts.
--
-- KEYS  1 the item of one owner (string)
-- ARGV  1 the response's id   2 ttl (ms); '': it is forgotten; without arguments it is only read
-- Returns the response's id, or false if the item is unknown

if ARGV[2] == '' then
  if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
elseif ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return redis.call('GET', KEYS[1])
