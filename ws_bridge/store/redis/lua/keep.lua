-- keep: one value that all servers share, set by the first one that asks for it.
--
-- KEYS  1 the value (string)
-- ARGV  1 the value if there is none   2 ttl (ms)   3 a value that ARGV 1 replaces, or ''
-- Returns the value

local kept = redis.call('GET', KEYS[1])
if not kept or kept == ARGV[3] then
  kept = ARGV[1]
  redis.call('SET', KEYS[1], kept)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return kept
