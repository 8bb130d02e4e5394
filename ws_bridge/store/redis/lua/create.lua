-- create: store a response's record and first events; its writer has the lease.
--
-- KEYS  1 meta (hash)   2 events (stream)   3 input (string)   4 lease index (zset)
-- ARGV  1 id   2 owner   3 worker   4 fence   5 lease (ms)   6 ttl (ms)   7 record (compressed)
--       8 what a successor may do: 'run', 'continue' or ''
--       9 who made the items of its input (compressed), or ''
--       10 the key's name and the model that its usage is booked to (compressed), or ''
--       11 last number of the first events, or -1
--       12… their entries, each as its last number and its payload
-- Returns
--   1  created
--   0  the id is taken; nothing changed (on a retry this is the first try's success)
--
-- Meta fields: ow owner, st status, f fence, wk worker, n last number (-1: none), lx lease expiry
-- (ms, clock of Redis), rr what a successor may do, vi output was seen, up the provider's id,
-- cx cancelled, gp number of declared gaps, fl until when it is followed (ms), fw the workers that
-- follow it, with a space after each name, tk claimed by a successor, rl how often its lease was
-- released, side what the maker must get back (compressed), im who made the items of its input
-- (compressed), pa what its usage is booked to (compressed). Unknown fields are kept. Of the known ones only ow, st, f, n and wk are always there.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end

local t = redis.call('TIME')
local expiry = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[5]

redis.call('HSET', KEYS[1],
  'ow', ARGV[2], 'st', 'in_progress', 'f', ARGV[4], 'wk', ARGV[3], 'n', ARGV[11],
  'lx', string.format('%.0f', expiry), 'rr', ARGV[8])
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'im', ARGV[9]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'pa', ARGV[10]) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('SET', KEYS[3], ARGV[7], 'PX', ARGV[6])
redis.call('DEL', KEYS[2]) -- a log that outlived its record would refuse the first numbers
for i = 12, #ARGV, 2 do
  redis.call('XADD', KEYS[2], (ARGV[i] + 1) .. '-0', 'e', ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('ZADD', KEYS[4], expiry, ARGV[1])
redis.call('PEXPIRE', KEYS[4], ARGV[6])
return 1
