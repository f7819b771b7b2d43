-- Make changes that wait in side hashes count from now on, all at once, and move the manifest; or say why not.
-- The changes themselves are carried out bucket by bucket by merge.lua; until then nobody reads.
--
-- KEYS[1], ARGV[1..11]  see rules.lua
-- KEYS[2...]            bucket and its side hash, in the order of the groups below; all of them when the call replaces
--                       what is stored
-- ARGV[12]              about how many changes to merge in one command
-- ARGV[13...]           a group a bucket: index, number of changes in its side hash

local groups, at = {}, 13
for key = 2, #KEYS, 2 do
    local group = {bucket = KEYS[key], side = KEYS[key + 1], index = tonumber(ARGV[at]), size = tonumber(ARGV[at + 1])}
    if not begins_anew(group.index) and redis.call('HLEN', group.bucket) ~= unpacked(counts, group.index) then
        return 'rolled_back'
    end
    if redis.call('HLEN', group.side) ~= group.size then return 'not_staged' end
    groups[#groups + 1], at = group, at + 2
end

local staged = {}
for index = 0, ALL - 1 do staged[index] = NONE end
for _, group in ipairs(groups) do
    if begins_anew(group.index) then redis.call('UNLINK', group.bucket) end
    if group.size > 0 then redis.call('PERSIST', group.side) end
    staged[group.index] = struct.pack('<I4', group.size)
end
move_manifest(packed)
redis.call('HSET', KEYS[1], 'stage', call, 'sk', ARGV[12], 'sn', table.concat(staged, '', 0, BUCKETS - 1))
write_counts('rsn', staged)
return 'ok'
