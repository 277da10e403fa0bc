// What lies between the projections of a layer's attention and the attention itself (§5 to §8): every workgroup has one role.
// A thread holds four consecutive values of a row, so that a row is WG threads or fewer.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> kv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> norms: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> frontier: array<u32>;

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

// Rotates values 4·i … of a row whose last ROT are rotated; `width` values a row.
fn rotated(v: vec4<f32>, i: u32, width: u32, angles: u32) -> vec4<f32> {
    let first = (width - ROT) / 4u;
    if (i < first || i >= width / 4u) {
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

fn e4m3_codes(v: vec4<f32>) -> u32 {
    return e4m3_code(v.x) | (e4m3_code(v.y) << 8u) | (e4m3_code(v.z) << 16u) | (e4m3_code(v.w) << 24u);
}

// Query heads: unweighted RMSNorm, RoPE.
fn query_role(unit: u32, lane: u32) {
    let row = unit / HEADS;
    let at = unit * (D / 4u) + lane;
    let is_live = lane < D / 4u;
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
    q[to][half] = bitcast<f32>(f16_pair(v.x, v.y));
    q[to][half + 1u] = bitcast<f32>(f16_pair(v.z, v.w));
}

// The latent: RMSNorm, RoPE, FP8 and F16 rounding. In a step of short segments it enters the window at once.
fn latent_role(row: u32, lane: u32) {
    let is_live = lane < D / 4u;
    var v = vec4<f32>();
    if (is_live) {
        v = kv[row * (D / 4u) + lane];
    }
    let scale = inverse_rms(v, f32(D), lane);
    if (is_live) {
        v = rotated(v * scale * norms[lane], lane, D, args.angles + row * ROT);
    }
    if (IS_NATIVE == 1u) {
        let is_rounded = 4u * lane < NOPE;
        let scale = fp8_scale(block_maximum(v, lane, 16u, is_rounded));
        if (is_rounded) {
            let x = v * scale_inverse(scale);
            v = vec4<f32>(e4m3_value(e4m3_code(x.x)), e4m3_value(e4m3_code(x.y)), e4m3_value(e4m3_code(x.z)), e4m3_value(e4m3_code(x.w)))
                * scale_value(scale);
        }
    }
    if (!is_live) {
        return;
    }
    let row_data = row_at(row);
    let place = row_data.slot * SLOT_WORDS + (row_data.position % RING) * WINDOW_ROW_WORDS;
    if (IS_NATIVE == 1u) {
        let pairs = vec2<u32>(f16_pair(v.x, v.y), f16_pair(v.z, v.w));
        v = vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
        if (args.is_short == 1u) {
            frontier[place + 2u * lane] = pairs.x;
            frontier[place + 2u * lane + 1u] = pairs.y;
        }
    } else if (args.is_short == 1u) {
        let bits = bitcast<vec4<u32>>(v);
        for (var i = 0u; i < 4u; i++) {
            frontier[place + 4u * lane + i] = bits[i];
        }
    }
    kv[row * (D / 4u) + lane] = v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
