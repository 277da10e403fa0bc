//! The GPU backend against recorded logits, and against itself: the suite of every backend. Needs a Vulkan device, which may be software.

use crate::suite;
use ds4_engine::Precision;
use ds4_engine::backend::Backend;
use ds4_engine::kv::RowFormat;
use ds4_engine::{Config, Engine, EngineOptions, Logits, Rows, Sequence, TokenId};
use ds4_gguf::File;
use ds4_gpu::{Cache, Caps, Gpu, GpuBackend, GpuOptions};
use std::path::Path;
use std::sync::Arc;

fn on(gpu: Gpu, model: &Path, precision: Precision, rows: RowFormat, chunk: usize) -> Engine<GpuBackend> {
    let file = Arc::new(File::open(model).unwrap());
    let config = Config::from_file(&file).unwrap();
    let options =
        GpuOptions { precision, rows, chunk, context: 512, drafter: None, tuning: None, loaded: Box::new(|_| ()) };
    let backend = GpuBackend::new(gpu, &file, &config, options).unwrap();
    Engine::new(file, config, backend, EngineOptions { context: 512, chunk }).unwrap()
}

fn rows(plain: bool) -> RowFormat {
    if plain { RowFormat::Unrounded } else { RowFormat::Native }
}

fn engine(precision: Precision, plain: bool, chunk: usize) -> Engine<GpuBackend> {
    on(Gpu::open(None).unwrap(), &suite::data("s-q8.gguf"), precision, rows(plain), chunk)
}

/// The same without subgroups, f16 and matrix units.
fn plain_engine(precision: Precision, plain: bool, chunk: usize) -> Engine<GpuBackend> {
    let gpu = Gpu::open(None).unwrap();
    let caps = gpu.caps().plain();
    on(gpu.limited(caps), &suite::data("s-q8.gguf"), precision, rows(plain), chunk)
}

#[test]
fn logits_equal_the_reference_at_any_chunk_size() {
    suite::logits_equal_the_reference(&engine, &[1, 512]);
}

#[test]
fn logits_equal_the_reference_on_the_plainest_device() {
    suite::logits_equal_the_reference(&plain_engine, &[64]);
}

#[test]
fn greedy_continuation_equals_the_reference() {
    suite::greedy_continuation_equals_the_reference(&engine);
}

#[test]
fn forks_are_independent() {
    suite::forks_are_independent(&engine, &Cache::shared_pages);
}

#[test]
fn a_batch_equals_its_sequences_alone() {
    // The number of rows chooses the kernel, and with it the order of a sum.
    suite::a_batch_equals_its_sequences_alone(&engine, true, 1e-4);
}

#[test]
fn fast_stays_close_to_exact() {
    suite::fast_stays_close_to_exact(&engine);
}

#[test]
fn steps_are_checked_before_anything_changes() {
    suite::steps_are_checked_before_anything_changes(&engine);
}

#[test]
fn an_interrupted_step_breaks_its_sequence_and_spares_the_checkpoint() {
    suite::an_interrupted_step_breaks_its_sequence_and_spares_the_checkpoint(&engine);
}

/// Counted for a device on which nothing is left to kernels that only software needs.
#[test]
fn a_token_takes_ten_dispatches_a_layer() {
    let here = Gpu::open(None).unwrap().caps();
    let nvidia = Caps { subgroup: Some(32), f16: true, matrix16: true, is_software: false, ..here };
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/ds4-demo-q2.gguf");
    for precision in [Precision::Exact, Precision::Fast] {
        let gpu = Gpu::open(None).unwrap().collecting(nvidia);
        let mut engine = on(gpu, &demo, precision, RowFormat::Native, 64);
        let mut sequence = engine.sequence().unwrap();
        prefill(&mut engine, &mut sequence, &[1, 2, 3, 4, 5]);
        let before = engine.backend().gpu().dispatched();
        let tokens = [7];
        let mut rows = [Rows { sequence: &mut sequence, tokens: &tokens, logits: Logits::Last }];
        engine.step(&mut rows, &|| false).unwrap();
        let count = engine.backend().gpu().dispatched() - before;
        // Besides the layers: the embedding, the first site and the head take one, two and three.
        let layers = engine.config().layers.len() as u64;
        assert!(count <= 10 * layers + 6, "{precision:?}: {count} dispatches for {layers} layers");
    }
}

fn prefill(engine: &mut Engine<GpuBackend>, sequence: &mut Sequence<GpuBackend>, tokens: &[TokenId]) -> Vec<f32> {
    engine.prefill(sequence, tokens, Logits::All, &mut |_| (), &|| false).unwrap()
}

#[test]
fn a_restored_state_gives_the_same_logits_bit_for_bit() {
    for (precision, plain) in [(Precision::Exact, false), (Precision::Exact, true), (Precision::Fast, false)] {
        let mut engine = engine(precision, plain, 64);
        let tokens: Vec<TokenId> = (0..340).map(|i| (i * i + 3 * i) % 384).collect();
        for length in [1, 4, 127, 128, 129, 300] {
            let mut sequence = engine.sequence().unwrap();
            prefill(&mut engine, &mut sequence, &tokens[..length]);
            let backend = engine.shared_backend();
            let cache = sequence.cache();
            let frontier = backend.save_frontier(cache, length).unwrap();
            let bytes = |page| backend.page_bytes(page).unwrap().into_owned();
            let saved: Vec<Vec<u8>> = backend.finished_pages(cache, length).iter().map(|page| bytes(page)).collect();
            assert!(saved.iter().all(|page| page.len() == backend.page_size()));
            let pages = saved.into_iter().map(|page| Arc::new(backend.page(page).unwrap())).collect();
            let cache = backend.restore(length, pages, &frontier).unwrap();
            let mut restored = Sequence::restored(tokens[..length].to_vec(), cache);
            let rest = &tokens[length..length + 40];
            let (got, want) = (prefill(&mut engine, &mut restored, rest), prefill(&mut engine, &mut sequence, rest));
            assert!(got == want, "after {length} tokens");
            assert!(backend.restore(length + 1, Vec::new(), &frontier).is_err(), "another length");
        }
    }
}

#[test]
fn a_state_of_the_processor_goes_on_here() {
    use ds4_engine::cpu::{CpuBackend, CpuOptions};
    let file = Arc::new(File::open(&suite::data("s-q8.gguf")).unwrap());
    let config = Config::from_file(&file).unwrap();
    let options = CpuOptions { precision: Precision::Exact, threads: 2, rows: RowFormat::Unrounded };
    let backend = CpuBackend::new(&config, options).unwrap();
    let mut cpu = Engine::new(file, config, backend, EngineOptions { context: 512, chunk: 64 }).unwrap();
    let tokens: Vec<TokenId> = (0..240).map(|i| (i * i + 3 * i) % 384).collect();
    let mut sequence = cpu.sequence().unwrap();
    cpu.prefill(&mut sequence, &tokens[..200], Logits::None, &mut |_| (), &|| false).unwrap();
    let from = cpu.shared_backend();
    let mut gpu = engine(Precision::Exact, true, 64);
    let to = gpu.shared_backend();
    let pages = from.finished_pages(sequence.cache(), 200).iter();
    let pages = pages.map(|page| Arc::new(to.page(from.page_bytes(page).unwrap().into_owned()).unwrap())).collect();
    let frontier = from.save_frontier(sequence.cache(), 200).unwrap();
    let mut moved = Sequence::restored(tokens[..200].to_vec(), to.restore(200, pages, &frontier).unwrap());
    let want = cpu.prefill(&mut sequence, &tokens[200..], Logits::All, &mut |_| (), &|| false).unwrap();
    let got = prefill(&mut gpu, &mut moved, &tokens[200..]);
    let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3, "{worst:e} apart");
}
