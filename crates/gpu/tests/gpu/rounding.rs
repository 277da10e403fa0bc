//! The rounding of the kernels against the host's, code by code.

use ds4_engine::kv::rounding::{fp4_encode, fp8_decode, fp8_encode, hadamard};
use ds4_gpu::{Gpu, floats, to_floats, words};
use half::f16;

const ROUNDING: &str = include_str!("../../src/kernels/attention/rounding.wgsl");
const ROWS: &str = include_str!("../../src/kernels/attention/rows_native.wgsl");

/// Codes of blocks of 64 and of 32 values, the scale behind the codes; the values' F16 bits; the values of the first codes.
const ENCODE: &str = "
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
struct Args { blocks: u32 }
var<immediate> args: Args;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= args.blocks) { return; }
    var most = 0u;
    for (var i = 0u; i < 64u; i++) { most = max(most, magnitude_bits(x[64u * id.x + i])); }
    let scale = fp8_scale(most);
    for (var i = 0u; i < 64u; i++) {
        out[259u * id.x + i] = e4m3_code(x[64u * id.x + i] * scale_inverse(scale));
        out[259u * id.x + 195u + i] = bitcast<u32>(e4m3_rounded(x[64u * id.x + i] * scale_inverse(scale)));
        out[259u * id.x + 130u + i] = f16_bits(x[64u * id.x + i]);
    }
    out[259u * id.x + 64u] = scale;
    most = 0u;
    for (var i = 0u; i < 32u; i++) { most = max(most, magnitude_bits(x[64u * id.x + i])); }
    let small = fp4_scale(most);
    for (var i = 0u; i < 32u; i++) { out[259u * id.x + 65u + i] = e2m1_code(x[64u * id.x + i] * scale_inverse(small)); }
    out[259u * id.x + 129u] = small;
}";

fn pseudo(i: usize) -> u32 {
    let x = (i as u32).wrapping_mul(0x9e37_79b9).wrapping_add(0x7f4a_7c15);
    let x = (x ^ (x >> 15)).wrapping_mul(0x85eb_ca6b);
    (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35) ^ (x >> 16)
}

/// Blocks of 64: any bits, numbers of one size, exact ties, boundaries of scales, zeros.
fn blocks() -> Vec<f32> {
    let mut x = Vec::new();
    for block in 0..3000 {
        let exponent = 60 + pseudo(block) % 120;
        for i in 0..64 {
            let bits = pseudo(block * 64 + i);
            let sign = bits & 0x8000_0000;
            x.push(f32::from_bits(match block % 6 {
                // Anything but what is no number, infinite or denormal.
                0 => sign | (1 + bits % 253) << 23 | (bits >> 8 & 0x7f_ffff),
                1 => sign | (exponent + bits % 6) << 23 | (bits >> 8 & 0x7f_ffff),
                // Few bits: values of the grids, and the middles between them.
                2 => sign | (exponent + bits % 6) << 23 | (bits >> 8 & 0x78_0000),
                3 => sign | exponent << 23 | [0x60_0000, 0x60_0001, 0x5f_ffff, 0x40_0000, 0x40_0001, 0x3f_ffff][i % 6],
                4 if i > 0 => 0,
                4 => sign | exponent << 23 | [0, 0x60_0000, 0x60_0001, 0x40_0000, 0x40_0001][block / 6 % 5],
                _ => sign | (0x70 + bits % 0x20) << 23 | (bits >> 8 & 0x70_1000),
            }));
        }
    }
    x
}

#[test]
fn codes_are_those_of_the_host() {
    let gpu = Gpu::open(None).unwrap();
    let kernel = gpu.kernel("encode", &[], &[ROUNDING, ENCODE]).unwrap();
    let x = blocks();
    let count = x.len() / 64;
    let input = gpu.buffer_of("x", &floats(&x)).unwrap();
    let out = gpu.buffer("codes", (count * 259 * 4) as u64).unwrap();
    gpu.dispatch(&kernel, &[&input, &out], &[count as u32], [count.div_ceil(64) as u32, 1, 1]).unwrap();
    let got: Vec<u32> = to_floats(&gpu.download(&out, 0, (count * 259 * 4) as u64).unwrap())
        .iter()
        .map(|word| word.to_bits())
        .collect();
    for (x, got) in x.chunks_exact(64).zip(got.chunks_exact(259)) {
        let (mut codes, mut scale) = ([0; 64], [0; 1]);
        fp8_encode(x, &mut codes, &mut scale);
        assert_eq!(got[64], u32::from(scale[0]), "{x:?}");
        assert!(got[..64].iter().zip(codes).all(|(a, b)| *a == u32::from(b)), "{x:?}: {:?}, not {codes:?}", &got[..64]);
        let mut values = [0.0; 64];
        fp8_decode(&codes, &[127], &mut values);
        assert_eq!(got[195..], values.map(f32::to_bits), "{x:?}");
        let (mut pairs, mut scale) = ([0; 16], [0; 1]);
        fp4_encode(&x[..32], &mut pairs, &mut scale);
        assert_eq!(got[129], u32::from(scale[0]), "{x:?}");
        let codes: Vec<u32> = pairs.iter().flat_map(|pair| [u32::from(pair & 15), u32::from(pair >> 4)]).collect();
        // A product below the smallest normal number may count as zero, which keeps its sign.
        assert_eq!(&got[65..97], codes, "{x:?}");
        for (x, got) in x.iter().zip(&got[130..194]) {
            assert_eq!(*got, u32::from(f16::from_f32(*x).to_bits()), "{x}");
        }
    }
}

/// Values of all FP8 codes, and of F16 numbers.
const DECODE: &str = "
@group(0) @binding(0) var<storage, read> arena: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> frontier: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    let codes = arena[i / 4u][i % 4u];
    let four = 256.0 * four_codes(codes);
    for (var j = 0u; j < 4u; j++) {
        out[4u * i + j] = four[j];
    }
    for (var block = i; block < 4096u; block += 64u) {
        let values = window_block(0u, block);
        for (var j = 0u; j < 16u; j++) { out[256u + 16u * block + j] = values[j / 4u][j % 4u]; }
    }
}";

#[test]
fn codes_are_read_as_the_host_reads_them() {
    let gpu = Gpu::open(None).unwrap();
    let sizes = [("NOPE", 64), ("ROT", 16)];
    let kernel = gpu.kernel("decode", &sizes, &[ROWS, DECODE]).unwrap();
    let codes: Vec<u8> = (0..=255).collect();
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let (arena, frontier) = (gpu.buffer_of("codes", &codes).unwrap(), gpu.buffer_of("halves", &halves).unwrap());
    let bytes = (4 * (256 + 65536)) as u64;
    let out = gpu.buffer_of("out", &words(&[0x7fc0_0000; 256 + 65536])).unwrap();
    gpu.dispatch(&kernel, &[&arena, &frontier, &out], &[], [1, 1, 1]).unwrap();
    let got = to_floats(&gpu.download(&out, 0, bytes).unwrap());
    let mut want = vec![0.0; 256];
    fp8_decode(&codes, &[127; 4], &mut want);
    for (i, value) in want.iter().enumerate() {
        assert_eq!(got[i], *value, "code {i}");
    }
    for bits in 0..=u16::MAX {
        let (want, got) = (f16::from_bits(bits).to_f32(), got[256 + usize::from(bits)]);
        assert!(want == got || want.is_nan() && got.is_nan(), "F16 {bits:#x}: {got}, not {want}");
    }
}

#[test]
fn the_rotation_of_ones_is_one_number() {
    // What the kernels rely on: the host's rotation is the natural-order one.
    let mut x = [1.0; 64];
    hadamard(&mut x);
    assert_eq!((x[0], x[1..].iter().all(|v| *v == 0.0)), (8.0, true));
}
