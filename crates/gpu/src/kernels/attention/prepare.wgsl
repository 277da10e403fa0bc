// What lies between the projections of a layer's attention and the attention itself (§5 to §8): every workgroup has one role.
// A thread holds four consecutive values of a row, so that a row is WG threads or fewer.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> kv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norms: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> frontier: array<vec4<u32>>;

struct Args {
    // Workgroups up to and with each role.
    finish_end: u32,
    index_end: u32,
    latent_end: u32,
    index_query_end: u32,
    store_end: u32,
    query_end: u32,
    // Workgroups of a line of the grid.
    line: u32,
    // First word of the angles of rows; first word of the closing windows, and of their angles.
    angles: u32,
    closing: u32,
    closing_angles: u32,
    // Whether latent rows enter the window at once.
    is_short: u32,
    // Whether query heads are wanted as F16, for matrix units.
    is_halved: u32,
}
var<immediate> args: Args;

var<workgroup> maxima: array<atomic<u32>, MAXIMA>;

// Whether a thread has some of a row of so many fours: known where that is all of them.
fn has_values(lane: u32, fours: u32) -> bool {
    return WG == fours || lane < fours;
}

// Rotates values 4·i … of a row whose last ROT are rotated; `width` values a row.
fn rotated(v: vec4<f32>, i: u32, width: u32, angles: u32) -> vec4<f32> {
    let first = (width - ROT) / 4u;
    if (i < first) {
        return v;
    }
    let a = bitcast<vec4<f32>>(step[angles / 4u + i - first]);
    return vec4<f32>(v.x * a.x - v.y * a.y, v.x * a.y + v.y * a.x, v.z * a.z - v.w * a.w, v.z * a.w + v.w * a.z);
}

// 1 / sqrt(mean(v²) + eps) over a row.
fn inverse_rms(v: vec4<f32>, width: f32, lane: u32) -> f32 {
    return 1.0 / sqrt(wg_sum(dot(v, v), lane) / width + bitcast<f32>(EPS_BITS));
}

// Largest magnitudes of blocks of `per` threads, as bits.
fn block_maximum(v: vec4<f32>, lane: u32, per: u32, is_live: bool) -> u32 {
    if (lane < MAXIMA) {
        atomicStore(&maxima[lane], 0u);
    }
    workgroupBarrier();
    if (is_live) {
        atomicMax(&maxima[lane / per], magnitude_bits4(v));
    }
    workgroupBarrier();
    let most = atomicLoad(&maxima[lane / per]);
    workgroupBarrier();
    return most;
}

// Query heads: unweighted RMSNorm, RoPE.
fn query_role(unit: u32, lane: u32) {
    let row = unit / HEADS;
    let at = unit * (D / 4u) + lane;
    let is_live = has_values(lane, D / 4u);
    var v = vec4<f32>();
    if (is_live) {
        v = q[at];
    }
    v *= inverse_rms(v, f32(D), lane);
    if (!is_live) {
        return;
    }
    v = rotated(v, lane, D, args.angles + row * ROT);
    if (args.is_halved == 0u) {
        q[at] = v;
        return;
    }
    // Scaled heads as F16, in the first half of their place.
    v *= bitcast<f32>(SCALE_BITS);
    let to = unit * (D / 4u) + lane / 2u;
    let half = lane % 2u * 2u;
    let pairs = f16_pairs(v);
    q[to][half] = bitcast<f32>(pairs.x);
    q[to][half + 1u] = bitcast<f32>(pairs.y);
}

// The latent: RMSNorm, RoPE, FP8 and F16 rounding. In a step of short segments it enters the window at once.
fn latent_role(row: u32, lane: u32) {
    let is_live = has_values(lane, D / 4u);
    var v = vec4<f32>();
    if (is_live) {
        v = kv[row * (D / 4u) + lane];
    }
    let scale = inverse_rms(v, f32(D), lane);
    if (is_live) {
        v = rotated(v * scale * norms[lane], lane, D, args.angles + row * ROT);
    }
    let row_data = row_at(row);
    let place = (row_data.slot * SLOT_WORDS + (row_data.position % RING) * WINDOW_ROW_WORDS) / 4u;
    if (IS_NATIVE == 1u) {
        let is_rounded = 4u * lane < NOPE;
        let scale = fp8_scale(block_maximum(v, lane, 16u, is_rounded));
        if (is_rounded) {
            for (var i = 0u; i < 4u * once; i += 1u) {
                v = vec4<f32>(v.yzw, e4m3_rounded(v.x * scale_inverse(scale)) * scale_value(scale));
            }
        }
        let pairs = f16_pairs(v);
        v = unpacked(pairs);
        if (is_live && args.is_short == 1u) {
            let half = lane % 2u * 2u;
            frontier[place + lane / 2u][half] = pairs.x;
            frontier[place + lane / 2u][half + 1u] = pairs.y;
        }
    } else if (is_live && args.is_short == 1u) {
        frontier[place + lane] = bitcast<vec4<u32>>(v);
    }
    if (!is_live) {
        return;
    }
    kv[row * (D / 4u) + lane] = v;
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>
) {
    once = grid.z;
    let unit = group.y * args.line + group.x;
    if (unit < args.finish_end) {
        finish_role(unit, lane);
    } else if (unit < args.index_end) {
        index_finish_role(unit - args.finish_end, lane);
    } else if (unit < args.latent_end) {
        latent_role(unit - args.index_end, lane);
    } else if (unit < args.index_query_end) {
        index_query_role(unit - args.latent_end, lane);
    } else if (unit < args.store_end) {
        store_role(unit - args.index_query_end, lane);
    } else if (unit < args.query_end) {
        query_role(unit - args.store_end, lane);
    }
}
