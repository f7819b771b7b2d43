#!lua
-- Carry out the changes that wait in the side hashes of some buckets. Answers 'ok', or 'lost' if the store lost some.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   bucket and its side hash, in the order of the indexes below
-- ARGV[1]      digest of the call that staged them; nothing is done when another one is being merged, or none
-- ARGV[2...]   index of each bucket
--
-- A field of a side hash is a key, its value '+' and packed state, or '-' for a key to delete.

local BUCKETS, ALL, CHUNK, NONE = 256, 512, 1000, '\0\0\0\0'
local stored = redis.call('HMGET', KEYS[1], 'stage', 'sn', 'n', 'rsn', 'rn', 'call')
if (stored[1] or stored[4] and stored[6]) ~= ARGV[1] then return 'ok' end
local all_staged = (stored[2] or NONE:rep(BUCKETS)) .. (stored[4] or NONE:rep(BUCKETS))
local all_counts = stored[3] .. (stored[5] or NONE:rep(BUCKETS))
local staged, counts = {}, {}
for index = 0, ALL - 1 do
    staged[index] = string.sub(all_staged, index * 4 + 1, index * 4 + 4)
    counts[index] = string.sub(all_counts, index * 4 + 1, index * 4 + 4)
end

local groups = {}
for i = 2, #ARGV do
    local group = {index = tonumber(ARGV[i]), bucket = KEYS[2 * i - 2], side = KEYS[2 * i - 1]}
    local size = struct.unpack('<I4', staged[group.index])
    if size > 0 then
        local is_whole = redis.call('HLEN', group.bucket) == struct.unpack('<I4', counts[group.index])
        if not is_whole or redis.call('HLEN', group.side) ~= size then return 'lost' end
        groups[#groups + 1] = group
    end
end

for _, group in ipairs(groups) do
    local found, sets, deletes = redis.call('HGETALL', group.side), {}, {}
    for i = 1, #found, 2 do
        if string.byte(found[i + 1]) == 43 then
            sets[#sets + 1], sets[#sets + 2] = found[i], string.sub(found[i + 1], 2)
        else
            deletes[#deletes + 1] = found[i]
        end
    end
    for i = 1, #sets, CHUNK do redis.call('HSET', group.bucket, unpack(sets, i, math.min(i + CHUNK - 1, #sets))) end
    for i = 1, #deletes, CHUNK do
        redis.call('HDEL', group.bucket, unpack(deletes, i, math.min(i + CHUNK - 1, #deletes)))
    end
    redis.call('UNLINK', group.side)
    staged[group.index], counts[group.index] = NONE, struct.pack('<I4', redis.call('HLEN', group.bucket))
end

local left = table.concat(staged, '', 0, BUCKETS - 1)
redis.call('HSET', KEYS[1], 'n', table.concat(counts, '', 0, BUCKETS - 1), 'sn', left)
for field, numbers in pairs({rn = counts, rsn = staged}) do
    local text = table.concat(numbers, '', BUCKETS, ALL - 1)
    if text == NONE:rep(BUCKETS) then redis.call('HDEL', KEYS[1], field) else redis.call('HSET', KEYS[1], field, text) end
end
if table.concat(staged, '', 0, ALL - 1) == NONE:rep(ALL) then redis.call('HDEL', KEYS[1], 'stage', 'sk', 'sn') end
return 'ok'
