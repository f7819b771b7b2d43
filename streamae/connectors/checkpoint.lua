#!lua
-- Save changed keys of one partition and move its manifest, or say why not. Checks everything before it writes.
-- (The first line makes Redis refuse the whole script when memory is full, instead of stopping it half way.)
--
-- KEYS[1]      manifest: hash of off (offset), fp (fingerprint), call (digest of the call), n (counts)
-- KEYS[2...]   buckets, in the order of the groups below; all of them when base is empty
-- ARGV[1..4]   base offset or '' (there must be no manifest), new offset, fingerprint, digest of this call
-- ARGV[5...]   a group a bucket: index, number of sets, number of deletes, key and value of each set, key of each delete
--
-- n is one little-endian uint32 a bucket: how many keys it holds.

local BUCKETS, CHUNK = 256, 1000
local base, new, fingerprint, call = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local stored = redis.call('HMGET', KEYS[1], 'off', 'fp', 'call', 'n')
local offset, counts = stored[1] and tonumber(stored[1]), stored[4]

if offset then
    if offset == new and stored[3] == call then return 'ok' end
    if base == '' or offset >= new or stored[2] ~= fingerprint then return 'stale' end
    if offset < tonumber(base) then return 'rolled_back' end
elseif base ~= '' then
    return 'rolled_back'
else
    counts = string.rep('\0', BUCKETS * 4)
end

local groups, at = {}, 5
for bucket = 2, #KEYS do
    local index, sets, deletes = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if base ~= '' and redis.call('HLEN', KEYS[bucket]) ~= struct.unpack('<I4', counts, index * 4 + 1) then
        return 'rolled_back'
    end
    groups[#groups + 1] = {key = KEYS[bucket], index = index, first = at + 3, sets = sets, deletes = deletes}
    at = at + 3 + 2 * sets + deletes
end

local packed = {}
for index = 0, BUCKETS - 1 do
    packed[index] = string.sub(counts, index * 4 + 1, index * 4 + 4)
end
for _, group in ipairs(groups) do
    if base == '' then redis.call('DEL', group.key) end
    local last_set = group.first + 2 * group.sets - 1
    for i = group.first, last_set, CHUNK do
        redis.call('HSET', group.key, unpack(ARGV, i, math.min(i + CHUNK - 1, last_set)))
    end
    local last_delete = last_set + group.deletes
    for i = last_set + 1, last_delete, CHUNK do
        redis.call('HDEL', group.key, unpack(ARGV, i, math.min(i + CHUNK - 1, last_delete)))
    end
    packed[group.index] = struct.pack('<I4', redis.call('HLEN', group.key))
end
redis.call('HSET', KEYS[1], 'off', ARGV[2], 'fp', fingerprint, 'call', call, 'n', table.concat(packed, '', 0, BUCKETS - 1))
return 'ok'
