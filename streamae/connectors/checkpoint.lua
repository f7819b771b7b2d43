-- Save changed keys of one partition and move its manifest, or say why not. Checks everything before it writes.
--
-- KEYS[1], ARGV[1..11]  see rules.lua
-- KEYS[2...]            buckets, in the order of the groups below; all of them when the call replaces what is stored
-- ARGV[12...]           a group a bucket: index, number of sets, number of deletes, key and value of each set, key of
--                       each delete

local groups, at = {}, 12
for bucket = 2, #KEYS do
    local index, sets, deletes = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if not begins_anew(index) and redis.call('HLEN', KEYS[bucket]) ~= unpacked(counts, index) then return 'rolled_back' end
    groups[#groups + 1] = {key = KEYS[bucket], index = index, first = at + 3, sets = sets, deletes = deletes}
    at = at + 3 + 2 * sets + deletes
end

for _, group in ipairs(groups) do
    if begins_anew(group.index) then redis.call('UNLINK', group.key) end
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
move_manifest(packed)
return 'ok'
