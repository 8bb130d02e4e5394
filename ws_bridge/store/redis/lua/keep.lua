-- keep: one value that all servers share, made by the first that asks for it.
--
-- KEYS  1 the value (string)
-- ARGV  1 what it is if there is none   2 ttl (ms)   3 what is replaced by ARGV 1, or ''
-- Returns what it is now

local kept = redis.call('GET', KEYS[1])
if not kept or kept == ARGV[3] then
  kept = ARGV[1]
  redis.call('SET', KEYS[1], kept)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return kept
