#!lua
-- Put in front of checkpoint.lua and switch.lua: may this call be carried out? Nothing is written here.
-- (The first line makes Redis refuse the whole script when memory is full, instead of stopping it half way.)
--
-- KEYS[1]      manifest: hash of off (offset), fp (fingerprint), ep (epoch), id (identity), call (digest of the call),
--              n (counts), rn (those of the roster, if it has entries), ps (state of the partition itself, if it has
--              any), ly (layouts of the stored values, if they are written down, one a line), and while a large call is being merged stage (its digest), sn and rsn (what is staged, for the
--              roster only if anything is), and sk (how many changes to merge in one command)
-- ARGV[1..11]  base offset or '' (there must be no manifest), new offset, fingerprint, epoch, identity, digest of this
--              call, '1' if it brings the whole state, state of the partition itself or '', layouts or '', and the
--              fingerprint and layouts that the caller relies on
--
-- n and sn are one little-endian uint32 a bucket: how many keys it holds, how many changes of it are staged; rn and rsn
-- are the same of the roster. Buckets of the roster are numbered from BUCKETS on. Where no entry is counted, whatever
-- stands there is nothing: a release that knows no roster may have left it behind. Such a release may also have merged
-- the keys of a large call and taken stage, sk and sn away: rsn alone still means that call, and that it is being merged.

local BUCKETS, ALL, CHUNK, NONE = 256, 512, 1000, '\0\0\0\0'
local base, new, call, is_whole = ARGV[1], tonumber(ARGV[2]), ARGV[6], ARGV[7] == '1'
local replaces = is_whole or base == ''
local stored = redis.call('HMGET', KEYS[1], 'off', 'fp', 'ep', 'id', 'call', 'n', 'stage', 'rn', 'ly', 'rsn')
local offset, counts = stored[1] and tonumber(stored[1]), (stored[6] or '') .. (stored[8] or NONE:rep(BUCKETS))

local function refusal()
    if not offset then return base ~= '' and not is_whole and 'rolled_back' end
    if offset == new and stored[5] == call then return 'ok' end
    if stored[7] or stored[10] then return 'merging' end
    local is_elsewhere = stored[4] and stored[4] ~= '' and ARGV[5] ~= '' and stored[4] ~= ARGV[5]
    local is_later = stored[3] and tonumber(stored[3]) > tonumber(ARGV[4])
    local layouts = stored[9] or ''  -- of no interest to a whole state: none of the stored values is left
    local is_ours = stored[2] == ARGV[3] and (is_whole or layouts == ARGV[9])
    local is_relied_on = stored[2] == ARGV[10] and (is_whole or layouts == ARGV[11])
    if offset >= new or not (is_ours or is_relied_on) or is_elsewhere or is_later then return 'stale' end
    if is_whole then return false end
    if base == '' then return 'stale' end
    return offset < tonumber(base) and 'rolled_back'
end

local function unpacked(text, index)
    return struct.unpack('<I4', text, index * 4 + 1)
end

local function begins_anew(index)
    return replaces or index >= BUCKETS and unpacked(counts, index) == 0
end

local function write_counts(field, numbers)
    local text = table.concat(numbers, '', BUCKETS, ALL - 1)
    if text == NONE:rep(BUCKETS) then redis.call('HDEL', KEYS[1], field) else redis.call('HSET', KEYS[1], field, text) end
end

local function move_manifest(packed)
    redis.call('HSET', KEYS[1], 'off', ARGV[2], 'fp', ARGV[3], 'ep', ARGV[4], 'id', ARGV[5], 'call', call,
        'n', table.concat(packed, '', 0, BUCKETS - 1))
    write_counts('rn', packed)
    for field, value in pairs({ps = ARGV[8], ly = ARGV[9]}) do
        if value == '' then redis.call('HDEL', KEYS[1], field) else redis.call('HSET', KEYS[1], field, value) end
    end
end

local answer = refusal()
if answer then return answer end
if replaces then counts = NONE:rep(ALL) end
local packed = {}
for index = 0, ALL - 1 do
    packed[index] = string.sub(counts, index * 4 + 1, index * 4 + 4)
end
