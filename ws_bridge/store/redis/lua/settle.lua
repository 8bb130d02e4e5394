-- settle: keep a day of the ledger as one sum, in the place of its parts; or drop those parts.
--
-- KEYS  1 the day's sum (hash)   or, without arguments: 1… the parts of one partition
-- ARGV  1 ttl (ms)   2 the day, in days since the epoch
--       3… the keys' names, each with what was booked for it
-- Returns
--   1  done
--   0  the day is not over for a whole day yet, or has its sum: nothing changed
--
-- The parts of a day change until it is over, on every server: no clock is wrong by a whole day.
-- The field '' marks a sum of which no name used anything.

if not ARGV[1] then
  for i = 1, #KEYS do redis.call('DEL', KEYS[i]) end
  return 1
end
local t = redis.call('TIME')
if math.floor(t[1] / 86400) - ARGV[2] < 2 then return 0 end -- guard: day
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end -- guard: sum
redis.call('HSET', KEYS[1], '', '1')
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
