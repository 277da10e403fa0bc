//! The choice of kernels by timing: which of the variants that compute the same is the fastest on this device.
//!
//! | file | content |
//! |---|---|
//! | `search.rs` | one parameter after the other; what is better by less than noise changes nothing |
//! | `trials.rs` | what is timed |
//!
//! Chosen is only what leaves the arithmetic as it is, so that devices differ by the order of their sums at most. Not chosen are
//! [`Tuning::q8_0_bytes_from`] and [`Tuning::pass_rows`]: they decide which activations become bytes, and what those cost in accuracy was
//! measured for the usual values. Exact arithmetic has no choice.

mod search;
mod trials;

use crate::device::Caps;
use crate::gpu::Gpu;
use crate::ops::linear::Tuning;
use crate::ops::units::{UNITS_BYTES, has_units};
use ds4_engine::weights::format_of;
use ds4_engine::{Precision, Result};
use ds4_gguf::File;
use ds4_quant::Format;
use search::search;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use trials::{Trials, Work};

/// To be raised when kernels or candidates change so that earlier choices are of no use.
pub const VERSION: u32 = 2;
/// Time after which what was found so far stands.
const LIMIT: Duration = Duration::from_secs(20);
/// Workgroup memory of kernels with the lattice besides its copies of 2 KB each.
const BESIDE_LATTICE_BYTES: u32 = 8 << 10;
const LATTICE_BYTES: u32 = 2 << 10;

/// Formats of gate, up and down of the routed experts.
pub type ExpertFormats = [Format; 3];

/// Those of the published file with experts of two bits.
pub const Q2: ExpertFormats = [Format::Iq2Xxs, Format::Iq2Xxs, Format::Q2K];
/// Those of the published file with experts of four bits.
pub const Q4: ExpertFormats = [Format::Q4K; 3];

/// Those of most layers of `file`. `None` where it has no routed experts, or of formats without kernels.
pub fn expert_formats(file: &File) -> Option<ExpertFormats> {
    let mut counts: Vec<(ExpertFormats, usize)> = Vec::new();
    for gate in file.tensors().iter().filter(|tensor| tensor.name.ends_with("ffn_gate_exps.weight")) {
        let other = |what: &str| file.tensor(&gate.name.replace("ffn_gate_exps", what));
        let (Some(up), Some(down)) = (other("ffn_up_exps"), other("ffn_down_exps")) else { continue };
        let [Some(gate), Some(up), Some(down)] = [gate, up, down].map(|tensor| format_of(tensor.ty)) else { continue };
        match counts.iter_mut().find(|(known, _)| *known == [gate, up, down]) {
            Some((_, count)) => *count += 1,
            None => counts.push(([gate, up, down], 1)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(formats, _)| formats)
}

/// One field of [`Tuning`] that is chosen by timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// [`Tuning::team_rows`].
    TeamRows,
    /// [`Tuning::lattice_copies`].
    LatticeCopies,
    /// [`Tuning::expand_threads`].
    ExpandThreads,
    /// [`Tuning::expand_team_rows`].
    ExpandTeamRows,
    /// [`Tuning::expanded_rows`].
    ExpandedRows,
    /// [`Tuning::tile_rows`].
    TileRows,
    /// [`Tuning::prefetch`]: 0 or 1.
    Prefetch,
}

impl Parameter {
    /// In the order in which they are chosen.
    pub const ALL: [Self; 7] = [
        Self::TeamRows,
        Self::LatticeCopies,
        Self::ExpandThreads,
        Self::ExpandTeamRows,
        Self::ExpandedRows,
        Self::TileRows,
        Self::Prefetch,
    ];

    /// Name of the field.
    pub fn name(self) -> &'static str {
        match self {
            Self::TeamRows => "team_rows",
            Self::LatticeCopies => "lattice_copies",
            Self::ExpandThreads => "expand_threads",
            Self::ExpandTeamRows => "expand_team_rows",
            Self::ExpandedRows => "expanded_rows",
            Self::TileRows => "tile_rows",
            Self::Prefetch => "prefetch",
        }
    }

    /// Its value.
    pub fn of(self, tuning: &Tuning) -> u32 {
        match self {
            Self::TeamRows => tuning.team_rows,
            Self::LatticeCopies => tuning.lattice_copies,
            Self::ExpandThreads => tuning.expand_threads,
            Self::ExpandTeamRows => tuning.expand_team_rows,
            Self::ExpandedRows => tuning.expanded_rows as u32,
            Self::TileRows => tuning.tile_rows as u32,
            Self::Prefetch => tuning.prefetch.into(),
        }
    }

    /// `tuning` with this value.
    #[must_use]
    pub fn with(self, tuning: Tuning, value: u32) -> Tuning {
        match self {
            Self::TeamRows => Tuning { team_rows: value, ..tuning },
            Self::LatticeCopies => Tuning { lattice_copies: value, ..tuning },
            Self::ExpandThreads => Tuning { expand_threads: value, ..tuning },
            Self::ExpandTeamRows => Tuning { expand_team_rows: value, ..tuning },
            Self::ExpandedRows => Tuning { expanded_rows: value as usize, ..tuning },
            Self::TileRows => Tuning { tile_rows: value as usize, ..tuning },
            Self::Prefetch => Tuning { prefetch: value != 0, ..tuning },
        }
    }

    /// The values that may be chosen on such a device for such experts. The first is the usual one; where nothing else matters it is alone.
    pub fn values(self, caps: Caps, experts: ExpertFormats) -> Vec<u32> {
        let usual = self.of(&Tuning::of(Precision::Fast));
        let units = has_units(caps, Precision::Fast);
        let mut all = vec![usual];
        all.extend::<Vec<u32>>(match self {
            Self::TeamRows => vec![1, 4],
            Self::LatticeCopies if experts.contains(&Format::Iq2Xxs) => {
                let most = caps.workgroup_bytes.saturating_sub(BESIDE_LATTICE_BYTES) / LATTICE_BYTES;
                [1, 2, 8, 16].into_iter().filter(|copies| *copies <= most).collect()
            }
            Self::ExpandThreads if caps.subgroup.is_some() => {
                [512, 256].into_iter().filter(|threads| *threads < usual.min(caps.workgroup_threads)).collect()
            }
            Self::ExpandTeamRows => vec![2, 4],
            Self::ExpandedRows => vec![1, 0],
            Self::TileRows if units && caps.workgroup_bytes >= UNITS_BYTES => vec![64],
            Self::Prefetch if units => vec![0],
            Self::LatticeCopies | Self::ExpandThreads | Self::TileRows | Self::Prefetch => Vec::new(),
        });
        all
    }

    /// What a value of it is tried with, in turns.
    fn works(self) -> &'static [Work] {
        match self {
            Self::TeamRows => &[Work::Experts(1), Work::Experts(4), Work::Query(4), Work::Output(4)],
            Self::LatticeCopies => &[Work::Experts(1), Work::Experts(4)],
            Self::ExpandThreads | Self::ExpandedRows => &[Work::Output(1), Work::Output(4), Work::Experts(1)],
            Self::ExpandTeamRows => &[Work::Output(1), Work::Experts(1)],
            Self::TileRows | Self::Prefetch => &[Work::Prompt, Work::PromptExperts],
        }
    }
}

/// The values of all parameters in `tuning`, by name.
pub fn values(tuning: &Tuning) -> [(&'static str, u32); Parameter::ALL.len()] {
    Parameter::ALL.map(|parameter| (parameter.name(), parameter.of(tuning)))
}

/// The tuning with these values, if each of them may be chosen on such a device for such experts.
pub fn of_values(caps: Caps, experts: ExpertFormats, value: impl Fn(&str) -> Option<u32>) -> Option<Tuning> {
    Parameter::ALL.into_iter().try_fold(Tuning::of(Precision::Fast), |tuning, parameter| {
        let value = value(parameter.name())?;
        parameter.values(caps, experts).contains(&value).then(|| parameter.with(tuning, value))
    })
}

/// Sizes of what is timed, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Values of a row of the model.
    pub embd: usize,
    /// Hidden values of an expert.
    pub ff: usize,
    /// Rows of a prompt.
    pub prompt: usize,
    /// Copies of the dense matrix, which take turns so that none stays in a cache.
    pub copies: usize,
    /// Most bytes of all weights.
    pub weight_bytes: usize,
    /// Seconds of one measurement for each kind of work.
    pub seconds: f64,
    /// Measurements of each of two tunings, one of this and one of that.
    pub rounds: usize,
    /// When to end, whatever is left.
    pub limit: Duration,
}

impl Plan {
    /// Matrices as wide as those of DeepSeek V4 Flash.
    pub const USUAL: Self = Self {
        embd: 4096,
        ff: 2048,
        prompt: 2048,
        copies: 3,
        weight_bytes: 256 << 20,
        seconds: 0.02,
        rounds: 5,
        limit: LIMIT,
    };
}

/// One value that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Of what.
    pub parameter: Parameter,
    /// The value.
    pub value: u32,
    /// Its time, of that of the best before it. `None` where it does not run here, or the time was over before it was known.
    pub ratio: Option<f64>,
    /// Whether it became the best.
    pub is_better: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The choice.
    pub tuning: Tuning,
    /// What was tried for it.
    pub tried: Vec<Tried>,
    /// Why it ended.
    pub end: End,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was tried.
    Whole,
    /// It had taken as long as it may.
    Limit,
    /// Whoever waits for it asked.
    Stopped,
}

/// Chooses for fast arithmetic on `gpu`, which should have nothing else to do, and whose memory of up to 256 MB and scratch this takes
/// meanwhile. `watch` is told again and again how many of how many values were tried, and answers whether to go on.
///
/// # Errors
/// The device failed, or has too little memory.
pub fn tune(gpu: &Gpu, experts: ExpertFormats, watch: &mut dyn FnMut(usize, usize) -> bool) -> Result<Tuned> {
    tune_with(gpu, experts, Plan::USUAL, watch)
}

/// The same at other sizes.
///
/// # Errors
/// As [`tune`].
pub fn tune_with(
    gpu: &Gpu,
    experts: ExpertFormats,
    plan: Plan,
    watch: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Tuned> {
    let start = Instant::now();
    let mut trials = Trials::new(gpu, experts, plan)?;
    let is_timed = |work: &Work| trials.has(*work);
    let parameters: Vec<(Parameter, Vec<u32>)> = Parameter::ALL
        .into_iter()
        .filter(|parameter| parameter.works().iter().any(is_timed))
        .map(|parameter| (parameter, parameter.values(gpu.caps(), experts)))
        .collect();
    // Asked in the middle of a value too: on a slow device one takes seconds.
    let (watch, at) = (RefCell::new(watch), Cell::new((0, 0)));
    let end = || {
        let (done, total) = at.get();
        match ((watch.borrow_mut())(done, total), start.elapsed() < plan.limit) {
            (false, _) => Some(End::Stopped),
            (true, false) => Some(End::Limit),
            (true, true) => None,
        }
    };
    let tuned = search(
        Tuning::of(Precision::Fast),
        &parameters,
        &mut |done, total| {
            at.set((done, total));
            end()
        },
        &mut |parameter, best, other| trials.ratio(parameter.works(), best, other, &|| end().is_some()),
    );
    gpu.forget_groups();
    Ok(tuned)
}
