//! Forks, shared pages, growing memory and saved states. Needs a Vulkan device, which may be software.

use crate::bench::{Bench, DEMO, Random, SMALL};
use ds4_engine::kv::RowFormat::{Native, Unrounded};
use ds4_engine::kv::{Cache, RowFormat};
use std::collections::HashSet;
use std::sync::Arc;

fn bench(format: RowFormat) -> Bench {
    Bench::new(DEMO, format, |caps| caps)
}

/// The outputs of the device for the next rows of one sequence.
fn outputs(
    bench: &Bench,
    at: usize,
    rows: usize,
    host: &mut Cache,
    device: &mut ds4_gpu::Cache,
    seed: u64,
) -> Vec<Vec<f32>> {
    let (mut hosts, mut devices) = (vec![host.clone()], vec![device.clone()]);
    // The clone is what goes on; the original is replaced by it.
    let out = bench.step(&[(at, rows)], &mut hosts, &mut devices, seed);
    (*host, *device) = (hosts.remove(0), devices.remove(0));
    out
}

#[test]
fn forks_share_history_and_go_their_own_ways() {
    for format in [Native, Unrounded] {
        let bench = bench(format);
        let (mut host, tokens) = (bench.filled(300, &mut Random(5)), 300);
        let mut device = bench.to_device(&host, tokens);
        let (mut other_host, mut other) = (host.clone(), device.clone());
        assert_eq!(device.page_numbers(), other.page_numbers());
        assert_eq!(other.shared_pages(), 3);
        // Both go on with the same rows, then with different ones; the reference checks each.
        let mut first = Vec::new();
        for i in 0..4 {
            first.push(outputs(&bench, tokens + i, 1, &mut host, &mut device, i as u64));
        }
        let again: Vec<_> =
            (0..4).map(|i| outputs(&bench, tokens + i, 1, &mut other_host, &mut other, i as u64)).collect();
        assert_eq!(first, again);
        // Finished pages are shared, the open one is not.
        assert_eq!(device.page_numbers()[..2], other.page_numbers()[..2]);
        assert_ne!(device.page_numbers()[2], other.page_numbers()[2]);
        let next = outputs(&bench, tokens + 4, 7, &mut host, &mut device, 70);
        let others = outputs(&bench, tokens + 4, 7, &mut other_host, &mut other, 71);
        assert_ne!(next, others);
    }
}

#[test]
fn what_is_saved_comes_back_bit_for_bit() {
    for (format, tokens) in [(Native, 130), (Unrounded, 131), (Native, 256), (Native, 2), (Unrounded, 261)] {
        let bench = bench(format);
        let mut host = bench.filled(tokens, &mut Random(9));
        let mut device = bench.to_device(&host, tokens);
        // What the device itself computed is saved, not only what the host gave it.
        outputs(&bench, tokens, 9, &mut host, &mut device, 1);
        let mut tokens = tokens + 9;
        let bytes = bench.pool.save_frontier(&device, tokens).unwrap();
        let pages: Vec<Vec<u8>> =
            device.finished_pages(tokens).iter().map(|page| bench.pool.page_bytes(page).unwrap()).collect();
        let restored: Vec<_> = pages.iter().map(|bytes| Arc::new(bench.pool.page(bytes).unwrap())).collect();
        let mut back = bench.pool.restore(tokens, restored, &bytes).unwrap();
        assert_eq!(bench.pool.save_frontier(&back, tokens).unwrap(), bytes);
        for (page, want) in back.finished_pages(tokens).iter().zip(&pages) {
            assert_eq!(&bench.pool.page_bytes(page).unwrap(), want);
        }
        let mut back_host = host.clone();
        for (i, rows) in [1, 1, 6, 1, 1, 130, 1].into_iter().enumerate() {
            let straight = outputs(&bench, tokens, rows, &mut host, &mut device, 40 + i as u64);
            let resumed = outputs(&bench, tokens, rows, &mut back_host, &mut back, 40 + i as u64);
            assert_eq!(straight, resumed);
            tokens += rows;
        }
    }
}

#[test]
fn wrong_bytes_are_refused() {
    let bench = Bench::new(SMALL, Native, |caps| caps);
    let host = bench.filled(140, &mut Random(9));
    let device = bench.to_device(&host, 140);
    let bytes = bench.pool.save_frontier(&device, 140).unwrap();
    assert_eq!(bytes, host.save_frontier(140));
    let pages = || device.finished_pages(140).to_vec();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(bench.pool.restore(140, pages(), &bytes[..cut]).is_err());
    }
    assert!(bench.pool.restore(141, pages(), &bytes).is_err());
    assert!(bench.pool.restore(140, Vec::new(), &bytes).is_err());
    assert!(bench.pool.page(&[0; 100]).is_err());
}

#[test]
fn memory_grows_and_numbers_come_back() {
    let bench = bench(Native);
    let mut host = bench.filled(200, &mut Random(3));
    let mut device = bench.to_device(&host, 200);
    // Far more than there is room for at first.
    let forks: Vec<ds4_gpu::Cache> = (0..9).map(|_| device.clone()).collect();
    let mut long = bench.pool.cache().unwrap();
    bench.pool.reserve(&mut long, 128 * 70).unwrap();
    let mut numbers = long.page_numbers();
    numbers.extend(device.page_numbers());
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 72);
    assert!(numbers.iter().any(|number| *number >= 64));
    // What was there before still is.
    outputs(&bench, 200, 3, &mut host, &mut device, 8);
    let mut forked = (bench.filled(200, &mut Random(3)), forks[4].clone());
    outputs(&bench, 200, 3, &mut forked.0, &mut forked.1, 8);
    // A place that others have used serves an empty sequence as well as a new one.
    drop((forks, forked, device));
    let (mut host, mut device) = (Cache::new(Arc::clone(&bench.layout)), bench.pool.cache().unwrap());
    let (mut fresh_host, other) = (host.clone(), Bench::new(DEMO, Native, |caps| caps));
    let mut fresh = other.pool.cache().unwrap();
    for (at, rows) in [(0, 6), (6, 1), (7, 1)] {
        let used = outputs(&bench, at, rows, &mut host, &mut device, 80);
        assert_eq!(used, outputs(&other, at, rows, &mut fresh_host, &mut fresh, 80));
    }
    drop(long);
    let mut again = bench.pool.cache().unwrap();
    bench.pool.reserve(&mut again, 128 * 70).unwrap();
    assert!(again.page_numbers().iter().all(|number| *number < 128));
    let mut counted = HashSet::new();
    let alone = bench.pool.cache_bytes(&again, &mut counted);
    assert_eq!(alone, bench.pool.sequence_bytes(128 * 70));
    assert!(bench.pool.cache_bytes(&again.clone(), &mut counted) < alone / 2);
}

#[test]
fn a_step_without_pages_is_refused() {
    let bench = bench(Native);
    let mut cache = bench.pool.cache().unwrap();
    let (tokens, positions) = ([1], [0]);
    let segments = [ds4_engine::backend::Segment { rows: 0..1, start: 0 }];
    let step = ds4_engine::backend::Step {
        config: &bench.config,
        tokens: &tokens,
        positions: &positions,
        segments: &segments,
    };
    let mut data = ds4_gpu::StepData::new(&bench.gpu).unwrap();
    let ropes = [&bench.ropes[0], &bench.ropes[1]];
    assert!(data.begin(&bench.pool, &step, ropes, &mut [&mut cache]).is_err());
    bench.pool.reserve(&mut cache, 1).unwrap();
    data.begin(&bench.pool, &step, ropes, &mut [&mut cache]).unwrap();
}
