-- hold: what an idempotency key stands for: read it, replace it, or forget it.
--
-- KEYS  1 the idempotency key of one owner (string)
-- ARGV  1 the value to set, or '': none   2 ttl (ms)
--       3 how a value begins that is replaced, or forgotten; '': only a key without one is set
-- Returns the value that is there now, or false
--
-- A value is the response's id, a space, 'p' (its record is about to be stored) or 'b' (it was), a
-- space, and the digest and the lane of the create (compressed).

local held = redis.call('GET', KEYS[1])
if held == '' then held = false end -- no server has written that
local is_meant = ARGV[3] ~= '' and held and string.sub(held, 1, #ARGV[3]) == ARGV[3]
if held and not is_meant then return held end
if ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
if held then redis.call('DEL', KEYS[1]) end
return false
