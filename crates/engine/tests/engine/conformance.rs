//! The CPU backend against recorded logits, and against itself: `suite.rs`.

use crate::suite;
use ds4_engine::Precision;
use ds4_engine::cpu::{CpuBackend, CpuOptions};
use ds4_engine::kv::{Cache, RowFormat};
use ds4_engine::{Config, Engine, EngineOptions};
use ds4_gguf::File;
use std::sync::Arc;

fn engine(precision: Precision, plain: bool, chunk: usize) -> Engine<CpuBackend> {
    let file = Arc::new(File::open(&suite::data("s-q8.gguf")).unwrap());
    let config = Config::from_file(&file).unwrap();
    let rows = if plain { RowFormat::Unrounded } else { RowFormat::Native };
    let backend = CpuBackend::new(&config, CpuOptions { precision, threads: 2, rows }).unwrap();
    Engine::new(file, config, backend, EngineOptions { context: 512, chunk }).unwrap()
}

#[test]
fn logits_equal_the_reference_at_any_chunk_size() {
    suite::logits_equal_the_reference(&engine, &[1, 7, 64, 512]);
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
    for plain in [true, false] {
        suite::a_batch_equals_its_sequences_alone(&engine, plain, 0.0);
    }
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
