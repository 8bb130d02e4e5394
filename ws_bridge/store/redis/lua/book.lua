-- book: add to the ledger what responses used that are not stored.
--
-- KEYS  1 the number of this worker's last bookings (string)   2 what the day cost (hash)
--       3… the day's usage of the keys' names (hashes), one for each booking
-- ARGV  1 number   2 ttl of the ledger (ms)   3 ttl of the number (ms)
--       4… of each booking: the key's name, the cost (billionths of a USD), how many fields it has,
--       and the fields, each as its name and what is added
-- Returns
--   1  booked
--   0  the number was booked already: nothing changed

local last = redis.call('GET', KEYS[1])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end -- guard: number
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
local at = 4
for i = 3, #KEYS do
  redis.pcall('HINCRBY', KEYS[2], ARGV[at], ARGV[at + 1])
  local fields = ARGV[at + 2]
  for j = at + 3, at + 2 + 2 * fields, 2 do
    redis.pcall('HINCRBY', KEYS[i], ARGV[j], ARGV[j + 1])
  end
  redis.pcall('PEXPIRE', KEYS[i], ARGV[2])
  at = at + 3 + 2 * fields
end
redis.pcall('PEXPIRE', KEYS[2], ARGV[2])
return 1
