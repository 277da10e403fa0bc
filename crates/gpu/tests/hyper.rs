//! Hyper-connections, norms and the router against the formulas in f64.

use ds4_engine::{Config, Precision};
use ds4_gpu::ops::hyper::{Hyper, MIX, Site, rms_norm};
use ds4_gpu::ops::route::{Routing, route};
use ds4_gpu::{Caps, Gpu, Rows, Vector, floats, to_floats, words};
use half::f16;

/// Numbers that look random, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5) * 2.0
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

fn config(embd: usize) -> Config {
    let file = ds4_gguf::File::from_static(include_bytes!("../../../models/demo/ds4-demo-q2.gguf")).unwrap();
    Config { embd, ..Config::from_file(&file).unwrap() }
}

fn devices() -> Vec<Gpu> {
    let gpu = Gpu::open(None).unwrap();
    let plain = gpu.caps().plain();
    let limited = |caps: Caps| Gpu::open(None).unwrap().limited(caps);
    vec![gpu, limited(plain)]
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Mix values of one row: `values` products with the normed row.
fn products(project: &[f32], x: &[f32], values: usize, eps: f64) -> Vec<f64> {
    let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
    let inverse = 1.0 / (square / x.len() as f64 + eps).sqrt();
    let row = |r: usize| {
        project[r * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>()
    };
    (0..values).map(|r| row(r) * inverse).collect()
}

fn collapsed(x: &[f64], pre: &[f64], norm: &[f32], eps: f64) -> Vec<f64> {
    let e = norm.len();
    let h: Vec<f64> = (0..e).map(|d| (0..4).map(|s| pre[s] * x[s * e + d]).sum()).collect();
    let inverse = 1.0 / (h.iter().map(|v| v * v).sum::<f64>() / e as f64 + eps).sqrt();
    h.iter().zip(norm).map(|(h, w)| h * inverse * f64::from(*w)).collect()
}

fn close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= tolerance * (1.0 + w.abs()), "{what}: value {i} is {g}, not {w}");
    }
}

#[test]
fn collapse_and_expand_follow_the_formulas() {
    for gpu in devices() {
        for (embd, rows) in [(64, 1), (128, 3), (256, 17), (256, 37), (4096, 1), (4096, 2)] {
            for is_f16 in [true, false] {
                check_hyper(&gpu, embd, rows, is_f16);
            }
        }
    }
}

fn check_hyper(gpu: &Gpu, embd: usize, rows: usize, is_f16: bool) {
    let (config, mut noise, values) = (config(embd), Noise(embd as u64 + rows as u64), 24);
    let hyper = Hyper::new(gpu, &config, rows, Precision::Fast).unwrap();
    let mut project = noise.values(values * 4 * embd);
    if is_f16 {
        project.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
    }
    let bytes = match is_f16 {
        true => project.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        false => floats(&project),
    };
    let (scale, base, norm) = (noise.values(3), noise.values(values), noise.values(embd));
    let vector = |v: &[f32]| Vector::new(gpu, v).unwrap();
    let (scale_on, base_on, norm_on) = (vector(&scale), vector(&base), vector(&norm));
    let project_on = gpu.buffer_of("fn", &bytes).unwrap();
    let site = Site { project: &project_on, is_f16, scale: &scale_on, base: &base_on, norm: &norm_on };

    let x = noise.values(rows * 4 * embd);
    let (mix_before, y) = (noise.values(rows * MIX), noise.values(rows * embd));
    let on = |v: &[f32], width: usize| Rows::of(gpu, v, width).unwrap();
    let (x_on, y_on) = (on(&x, 4 * embd), on(&y, embd));
    let (mix_on, h_on) = (on(&mix_before, MIX), on(&vec![f32::NAN; rows * embd], embd));
    hyper.collapse(gpu, rows, &site, Some(&y_on), &x_on, &mix_on, &h_on).unwrap();

    let (eps, hc_eps) = (f64::from(config.rms_eps), f64::from(config.hc_eps));
    let (got_x, got_mix, got_h) =
        (x_on.read(gpu, rows).unwrap(), mix_on.read(gpu, rows).unwrap(), h_on.read(gpu, rows).unwrap());
    for r in 0..rows {
        let (old, m, y) = (&x[r * 4 * embd..][..4 * embd], &mix_before[r * MIX..][..MIX], &y[r * embd..][..embd]);
        let new: Vec<f64> = (0..4 * embd)
            .map(|i| {
                let (t, d) = (i / embd, i % embd);
                let streams: f64 = (0..4).map(|s| f64::from(m[4 + 4 * s + t]) * f64::from(old[s * embd + d])).sum();
                f64::from(m[t]) * f64::from(y[d]) + streams
            })
            .collect();
        let got_row = &got_x[r * 4 * embd..][..4 * embd];
        close("expanded", got_row, &new, 1e-6);
        let raw = products(&project, got_row, values, eps);
        let gate = |i: usize, s: usize| raw[i] * f64::from(scale[s]) + f64::from(base[i]);
        let pre: Vec<f64> = (0..4).map(|s| sigmoid(gate(s, 0)) + hc_eps).collect();
        let mut mix: Vec<f64> = (0..4).map(|t| 2.0 * sigmoid(gate(4 + t, 1))).collect();
        let mut c: Vec<Vec<f64>> = (0..4).map(|i| (0..4).map(|j| gate(8 + 4 * i + j, 2)).collect()).collect();
        for row in &mut c {
            let most = row.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
            row.iter_mut().for_each(|v| *v = (*v - most).exp() / sum + hc_eps);
        }
        for round in 0..config.sinkhorn {
            if round > 0 {
                for row in &mut c {
                    let sum = row.iter().sum::<f64>() + hc_eps;
                    row.iter_mut().for_each(|v| *v /= sum);
                }
            }
            for j in 0..4 {
                let sum = c.iter().map(|row| row[j]).sum::<f64>() + hc_eps;
                c.iter_mut().for_each(|row| row[j] /= sum);
            }
        }
        mix.extend(c.into_iter().flatten());
        close("mix", &got_mix[r * MIX..][..MIX], &mix, 1e-5);
        let wide: Vec<f64> = got_row.iter().map(|v| f64::from(*v)).collect();
        close("h", &got_h[r * embd..][..embd], &collapsed(&wide, &pre, &norm, eps), 1e-5);
    }

    // The head collapses chosen rows; expand alone gives the same X as before.
    let head_site = Site { base: &base_on, ..site };
    let chosen: Vec<usize> = (0..rows).rev().step_by(2).collect();
    let e_on = on(&vec![f32::NAN; chosen.len() * embd], embd);
    hyper.head(gpu, &chosen, &head_site, &x_on, &e_on).unwrap();
    let e = e_on.read(gpu, chosen.len()).unwrap();
    for (i, r) in chosen.iter().enumerate() {
        let row = &got_x[r * 4 * embd..][..4 * embd];
        let raw = products(&project, row, 4, eps);
        let pre: Vec<f64> =
            (0..4).map(|s| sigmoid(raw[s] * f64::from(scale[0]) + f64::from(base[s])) + hc_eps).collect();
        let wide: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
        close("e", &e[i * embd..][..embd], &collapsed(&wide, &pre, &norm, eps), 1e-5);
    }
    let (x_on, mix_on) = (on(&x, 4 * embd), on(&mix_before, MIX));
    hyper.expand(gpu, rows, &mix_on, &y_on, &x_on).unwrap();
    assert_eq!(x_on.read(gpu, rows).unwrap(), got_x);
}

#[test]
fn rows_are_normed_in_place() {
    for gpu in devices() {
        for (width, rows) in [(1, 1), (7, 2), (1024, 3)] {
            let mut noise = Noise(width as u64);
            let (x, norm) = (noise.values(width * rows), noise.values(width));
            let x_on = Rows::of(&gpu, &x, width).unwrap();
            rms_norm(&gpu, rows, &Vector::new(&gpu, &norm).unwrap(), 1e-6, &x_on).unwrap();
            for (got, x) in x_on.read(&gpu, rows).unwrap().chunks(width).zip(x.chunks(width)) {
                let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
                let inverse = 1.0 / (square / width as f64 + 1e-6).sqrt();
                let want: Vec<f64> =
                    x.iter().zip(&norm).map(|(x, w)| f64::from(*x) * inverse * f64::from(*w)).collect();
                close("normed", got, &want, 1e-6);
            }
        }
    }
}

#[test]
fn the_router_chooses_as_the_formula_does() {
    for gpu in devices() {
        for (experts, used, rows) in [(6, 2, 5), (8, 3, 1), (256, 6, 9)] {
            for kind in 0..3 {
                check_router(&gpu, experts, used, rows, kind);
            }
        }
    }
}

fn check_router(gpu: &Gpu, experts: usize, used: usize, rows: usize, kind: usize) {
    let config = Config { experts, experts_used: used, ..config(64) };
    let mut noise = Noise(experts as u64 + kind as u64);
    let mut z: Vec<f32> = noise.values(rows * experts).iter().map(|v| v * 30.0).collect();
    // Ties go to the lower id.
    (z[1], z[2], z[3]) = (29.5, 29.5, 29.5);
    let bias = noise.values(experts);
    let table: Vec<u32> = (0..10 * used as u32).map(|i| i * 7 % experts as u32).collect();
    let ids: Vec<u32> = (0..rows as u32).map(|r| r % 10).collect();
    let on = |values: &[u32]| gpu.buffer_of("u32", &words(values)).unwrap();
    let (z_on, bias_on, ids_on, table_on) =
        (Rows::of(gpu, &z, experts).unwrap(), Vector::new(gpu, &bias).unwrap(), on(&ids), on(&table));
    let routes_on = on(&vec![u32::MAX; 2 * rows * used]);
    let routing = match kind {
        0 => Routing::Hash(&table_on),
        1 => Routing::Learned(None),
        _ => Routing::Learned(Some(&bias_on)),
    };
    route(gpu, &config, rows, &routing, &z_on, &ids_on, &routes_on).unwrap();
    let routes = gpu.download(&routes_on, 0, 8 * (rows * used) as u64).unwrap();
    let pairs: Vec<u32> = to_floats(&routes).iter().map(|v| v.to_bits()).collect();
    for r in 0..rows {
        let p: Vec<f64> = z[r * experts..][..experts].iter().map(|z| f64::from(*z).exp().ln_1p().sqrt()).collect();
        let mut best: Vec<usize> = (0..experts).collect();
        let score = |e: usize| p[e] as f32 + if kind == 2 { bias[e] } else { 0.0 };
        best.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let want: Vec<usize> = match kind {
            0 => table[ids[r] as usize * used..][..used].iter().map(|e| *e as usize).collect(),
            _ => best[..used].to_vec(),
        };
        let got: Vec<usize> = (0..used).map(|i| pairs[2 * (r * used + i)] as usize).collect();
        assert_eq!(got, want, "row {r} of kind {kind}");
        let sum: f64 = want.iter().map(|e| p[*e]).sum();
        for (i, e) in want.iter().enumerate() {
            let weight = f64::from(f32::from_bits(pairs[2 * (r * used + i) + 1]));
            let expected = f64::from(config.expert_scale) * p[*e] / sum.max(2f64.powi(-14));
            assert!((weight - expected).abs() <= 1e-6 * expected, "{weight}, not {expected}");
        }
    }
}
