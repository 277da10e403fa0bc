//! What the collector of importance sees of the demo model, and that it changes nothing.

use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::importance::{Collector, Inputs};
use ds4_engine::{Config, Engine, EngineOptions, Logits, Precision};
use ds4_gguf::File;
use std::path::Path;
use std::sync::Arc;

const TOKENS: usize = 150;

/// Logits of all tokens, read `chunk` at a time, and what was collected.
fn run(collects: bool, chunk: usize) -> (Vec<f32>, Vec<Inputs>, Config) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    let file = Arc::new(File::open(&path).unwrap());
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, ..CpuOptions::default() };
    let collector = Arc::new(Collector::default());
    let mut backend = CpuBackend::new(&config, options).unwrap();
    if collects {
        backend = backend.with_collector(Arc::clone(&collector));
    }
    let mut engine = Engine::new(file, config.clone(), backend, EngineOptions { context: 256, chunk }).unwrap();
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| i * i * 7 % 3000 + 20).collect();
    let mut sequence = engine.sequence().unwrap();
    let logits = engine.prefill(&mut sequence, &tokens, Logits::All, &mut |_| (), &|| false).unwrap();
    (logits, collector.take(), config)
}

fn of<'a>(all: &'a [Inputs], tensor: &str) -> &'a Inputs {
    all.iter().find(|inputs| inputs.tensors.iter().any(|name| name == tensor)).unwrap()
}

fn means(inputs: &Inputs, i: usize) -> Vec<f64> {
    inputs.mean_squares(i).unwrap().map(f64::from).collect()
}

fn assert_close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5 * b.abs() + 1e-12, "{a} {b}");
    }
}

#[test]
fn logits_do_not_change_and_chunks_do_not_matter() {
    let (plain, nothing, _) = run(false, 64);
    assert_eq!(nothing, []);
    let (observed, inputs, _) = run(true, 64);
    assert!(plain == observed);
    let (_, at_once, _) = run(true, 256);
    assert_eq!(inputs.len(), at_once.len());
    for (a, b) in inputs.iter().zip(&at_once) {
        assert_eq!((&a.tensors, &a.rows), (&b.tensors, &b.rows));
        for i in (0..a.rows.len()).filter(|i| a.rows[*i] > 0) {
            assert_close(&means(a, i), &means(b, i));
        }
    }
}

#[test]
fn every_matrix_sees_its_rows() {
    let (_, all, config) = run(true, 64);
    for il in 0..config.layers.len() {
        let name = |suffix: &str| format!("blk.{il}.{suffix}.weight");
        // One row a token, and one a group of heads.
        for suffix in
            ["attn_q_a", "attn_q_b", "attn_kv", "attn_output_b", "ffn_gate_shexp", "ffn_down_shexp", "ffn_gate_inp"]
        {
            assert_eq!(of(&all, &name(suffix)).rows, [TOKENS as u64], "{suffix}");
        }
        assert_eq!(of(&all, &name("attn_output_a")).rows, [(TOKENS * config.groups) as u64]);
        assert_eq!(of(&all, &name("ffn_gate_shexp")).tensors, [name("ffn_gate_shexp"), name("ffn_up_shexp")]);

        // Each token goes to as many experts, so that their rows together are those of the shared one so many times.
        let (routed, shared) = (of(&all, &name("ffn_gate_exps")), of(&all, &name("ffn_gate_shexp")));
        assert_eq!(routed.tensors, [name("ffn_gate_exps"), name("ffn_up_exps")]);
        assert_eq!(routed.rows.len(), config.experts);
        assert_eq!(routed.rows.iter().sum::<u64>(), (TOKENS * config.experts_used) as u64);
        let mut sum = vec![0.0; routed.width];
        for i in (0..config.experts).filter(|i| routed.rows[*i] > 0) {
            sum.iter_mut().zip(means(routed, i)).for_each(|(sum, mean)| *sum += mean * routed.rows[i] as f64);
        }
        let times = (TOKENS * config.experts_used) as f64;
        let expected: Vec<f64> = means(shared, 0).iter().map(|mean| mean * times).collect();
        assert_close(&sum, &expected);
        assert_eq!(of(&all, &name("ffn_gate_inp")).mean_squares(0).unwrap().collect::<Vec<_>>(), {
            shared.mean_squares(0).unwrap().collect::<Vec<_>>()
        });

        let down = of(&all, &name("ffn_down_exps"));
        assert_eq!((&down.rows, down.width), (&routed.rows, config.expert_ff));
    }
    assert_eq!(of(&all, "output.weight").rows, [TOKENS as u64]);
}
