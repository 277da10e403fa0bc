//! The choice of kernels by timing.

use ds4_engine::Precision;
use ds4_gpu::ops::linear::Tuning;
use ds4_gpu::tune::{self, End, Parameter, Plan};
use ds4_gpu::{Caps, Gpu};
use std::time::Duration;

/// So small that a software device takes no time.
const TINY: Plan = Plan {
    embd: 256,
    ff: 256,
    prompt: 32,
    copies: 2,
    weight_bytes: 2 << 20,
    seconds: 0.0,
    rounds: 1,
    limit: Duration::from_secs(300),
};

fn looked_up(tuning: Tuning) -> impl Fn(&str) -> Option<u32> {
    let values = tune::values(&tuning);
    move |name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

#[test]
fn a_choice_is_one_of_those_allowed() {
    let gpu = Gpu::open(None).unwrap();
    for experts in [tune::Q2, tune::Q4] {
        let mut told = Vec::new();
        let mut watch = |done, total| {
            told.push((done, total));
            true
        };
        let found = tune::tune_with(&gpu, experts, TINY, &mut watch).unwrap();
        assert_eq!(found.end, End::Whole);
        let total = Parameter::ALL.iter().map(|parameter| parameter.values(gpu.caps(), experts).len() - 1).sum();
        assert_eq!(found.tried.len(), total);
        told.dedup();
        assert_eq!(told, (0..total).map(|done| (done, total)).collect::<Vec<_>>());
        // All of them run here.
        assert!(found.tried.iter().all(|tried| tried.ratio.is_some()), "{:?}", found.tried);
        assert_eq!(tune::of_values(gpu.caps(), experts, looked_up(found.tuning)), Some(found.tuning));
        for better in found.tried.iter().filter(|tried| tried.is_better) {
            assert!(better.ratio.unwrap() < 1.0);
        }
    }
}

#[test]
fn it_ends_in_time_and_when_asked() {
    let gpu = Gpu::open(None).unwrap();
    let usual = Tuning::of(Precision::Fast);
    let plan = Plan { limit: Duration::ZERO, ..TINY };
    let found = tune::tune_with(&gpu, tune::Q2, plan, &mut |_, _| true).unwrap();
    assert_eq!((found.tuning, found.end, found.tried.len()), (usual, End::Limit, 0));
    // What is under way when the time is over is the last.
    let limit = Duration::from_millis(200);
    let mut asked = 0;
    let mut slow = |_, _| {
        asked += 1;
        std::thread::sleep(limit);
        true
    };
    let found = tune::tune_with(&gpu, tune::Q2, Plan { limit, ..TINY }, &mut slow).unwrap();
    assert_eq!((found.tuning, found.end), (usual, End::Limit));
    assert!(found.tried.is_empty() && asked == 1, "{found:?}");
    let found = tune::tune_with(&gpu, tune::Q2, TINY, &mut |done, _| done < 2).unwrap();
    assert_eq!((found.end, found.tried.len()), (End::Stopped, 2));
}

#[test]
fn only_what_matters_is_tried() {
    let gpu = Gpu::open(None).unwrap();
    let count = |parameter: Parameter, caps, experts| parameter.values(caps, experts).len();
    let plain = gpu.caps().plain();
    for parameter in [Parameter::ExpandThreads, Parameter::TileRows, Parameter::Prefetch] {
        assert_eq!(count(parameter, plain, tune::Q2), 1, "{parameter:?}");
    }
    assert_eq!(count(Parameter::LatticeCopies, plain, tune::Q4), 1);
    let large = Caps { workgroup_bytes: 48 << 10, ..plain };
    let units = Caps { subgroup: Some(32), f16: true, matrix16: true, workgroup_threads: 1024, ..large };
    assert_eq!(Parameter::LatticeCopies.values(large, tune::Q2), [4, 1, 2, 8, 16]);
    assert_eq!(Parameter::LatticeCopies.values(Caps { workgroup_bytes: 16 << 10, ..plain }, tune::Q2), [4, 1, 2]);
    assert_eq!(Parameter::ExpandThreads.values(units, tune::Q2), [1024, 512, 256]);
    assert_eq!(Parameter::ExpandThreads.values(Caps { workgroup_threads: 512, ..units }, tune::Q2), [1024, 256]);
    assert_eq!(Parameter::TileRows.values(units, tune::Q2), [128, 64]);
    assert_eq!(Parameter::Prefetch.values(units, tune::Q2), [1, 0]);
}

#[test]
fn values_that_may_not_be_chosen_are_refused() {
    let caps = Gpu::open(None).unwrap().caps();
    let usual = Tuning::of(Precision::Fast);
    assert_eq!(tune::of_values(caps, tune::Q2, looked_up(usual)), Some(usual));
    for parameter in Parameter::ALL {
        assert_eq!(parameter.with(usual, parameter.of(&usual)), usual);
        for value in [3, 5, 1 << 20, u32::MAX, 1000] {
            let known = looked_up(usual);
            let other = |name: &str| if name == parameter.name() { Some(value) } else { known(name) };
            assert_eq!(tune::of_values(caps, tune::Q2, other), None, "{parameter:?} {value}");
        }
        let known = looked_up(usual);
        let missing = |name: &str| known(name).filter(|_| name != parameter.name());
        assert_eq!(tune::of_values(caps, tune::Q2, missing), None, "{parameter:?}");
    }
    // A choice for one device is none for another: 16 copies of the lattice need more workgroup memory than some have.
    let known = looked_up(Tuning { lattice_copies: 16, ..usual });
    assert_eq!(tune::of_values(Caps { workgroup_bytes: 16 << 10, ..caps }, tune::Q2, known), None);
}
