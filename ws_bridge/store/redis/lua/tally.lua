-- tally: read hashes of the ledger.
--
-- KEYS  1… hashes, of one partition
-- ARGV  1… the fields that are wanted, or none: all of them
-- Returns of each hash the values of the fields, or all fields and values

local found = {}
for i = 1, #KEYS do
  if #ARGV > 0 then
    found[i] = redis.call('HMGET', KEYS[i], unpack(ARGV))
  else
    found[i] = redis.call('HGETALL', KEYS[i])
  end
end
return found
