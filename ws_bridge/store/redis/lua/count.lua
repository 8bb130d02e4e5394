-- count: add what a process has used of one limit of a client key, and set what it holds of it.
--
-- KEYS  1 the counter (hash)
-- ARGV  1 worker   2 number of its report: it is ignored after one with a higher number
--       3 number of the batch that was used: each counts once   4 the limit
--       5 window (ms), or 0: only what is held counts
--       6 how long what is held stays so without another report (ms)
--       7 held   8 wanted beside   9 spare: more, up to a tenth of what is free
--       10… what was used, each as ms ago and count
-- Returns {held now, taken in all, ms until one more is free if no process takes one, or 0}
--
-- Fields: 'u<n>'       what all have used in the n-th slice of time; it counts until the slice is
--                      over for as long as the window
--         'w<worker>'  '<until (ms)> <held> <last batch> <last report>'; a worker that is silent until then is
--                      lost: it may have used all at its last moment, so it counts for a window more
-- A process is never refused what it says that it holds: it is what it uses already.

local SLICE = 250 -- ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local report, batch, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local window, expiry, held = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local mine = 'w' .. ARGV[1]

local known = redis.call('HGET', KEYS[1], mine) or ''
local last_batch, last_report = string.match(known, '^%d+ %d+ (%d+) (%d+)')
if last_report and report < tonumber(last_report) then return {0, most, 0} end -- guard: late
if batch > tonumber(last_batch or 0) then -- guard: duplicate
  for i = 10, #ARGV, 2 do
    local slice = string.format('u%.0f', math.ceil((now - ARGV[i]) / SLICE))
    redis.call('HINCRBY', KEYS[1], slice, ARGV[i + 1])
  end
  last_batch = ARGV[3]
end

local taken, ends = held, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local kind, name = string.sub(fields[i], 1, 1), string.sub(fields[i], 2)
  local over, count
  if kind == 'u' then
    over, count = name * SLICE + window, tonumber(fields[i + 1])
  elseif kind == 'w' and fields[i] ~= mine then
    local time, other = string.match(fields[i + 1], '^(%d+) (%d+)')
    over, count = time + window, tonumber(other)
  end
  if over and over <= now then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif over then
    taken = taken + count
    table.insert(ends, {over, count})
  end
end

local free = most - taken
if free > 0 then
  local wanted = math.min(tonumber(ARGV[8]), free)
  local more = wanted + math.min(tonumber(ARGV[9]), math.floor((free - wanted) / 10))
  held, taken = held + more, taken + more
end
local entry = string.format('%.0f %d %s %s', now + expiry, held, last_batch or 0, ARGV[2])
redis.call('HSET', KEYS[1], mine, entry)
redis.call('PEXPIRE', KEYS[1], window + expiry)

local wait, over_by = 0, taken - most + 1
if over_by > 0 then
  table.insert(ends, {now + window, held})
  table.sort(ends, function(a, b) return a[1] < b[1] end)
  for _, one in ipairs(ends) do
    wait, over_by = one[1] - now, over_by - one[2]
    if over_by <= 0 then break end
  end
end
return {held, taken, math.min(wait, window + SLICE)}
