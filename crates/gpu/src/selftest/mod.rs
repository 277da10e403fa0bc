//! Every operation against plain references on random inputs, at small shapes and at those of the model, and how fast it is there: what
//! `ds4 selftest` runs, and what the tests of this crate share with it.
//!
//! | file | content |
//! |---|---|
//! | `verdict.rs` | errors as parts of what is allowed |
//! | `weights.rs` | random weights and their products |
//! | `linear.rs`, `experts.rs`, `hyper.rs`, `attention.rs`, `steer.rs`, `draft.rs` | references and cases of the operations of these names |
//! | `timing.rs` | how long an operation takes |

pub mod attention;
pub mod draft;
pub mod experts;
pub mod hyper;
pub mod linear;
pub mod steer;
mod timing;
mod verdict;
pub mod weights;

pub(crate) use timing::WARM_SECONDS;
pub use timing::{Speed, Work, time};
pub use verdict::{Verdict, WORST};

use crate::gpu::Gpu;
use ds4_engine::Result;
use std::sync::Arc;

/// Which shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// Small and odd ones, for every variant of a kernel.
    Small,
    /// Those of DeepSeek V4 Flash, timed.
    Model,
}

type Check = Box<dyn Fn(&mut Trial<'_>) -> Result<()>>;

/// One operation at some shape.
pub struct Case {
    /// What is computed.
    pub operation: &'static str,
    /// Sizes, formats, rows.
    pub shape: String,
    /// Whether the shapes are the model's.
    pub shapes: Shapes,
    run: Check,
}

impl Case {
    fn small(operation: &'static str, shape: String, run: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Self {
        Self { operation, shape, shapes: Shapes::Small, run: Box::new(run) }
    }

    fn model(operation: &'static str, shape: String, run: impl Fn(&mut Trial<'_>) -> Result<()> + 'static) -> Self {
        Self { operation, shape, shapes: Shapes::Model, run: Box::new(run) }
    }

    /// Runs it on `gpu`. At the model's shapes each speed is measured for `seconds`.
    ///
    /// # Errors
    /// The device failed, has too little memory, or a kernel does not compile.
    pub fn run(&self, gpu: &Arc<Gpu>, seconds: f64) -> Result<Outcome> {
        let mut trial = Trial { gpu, seconds, outcome: Outcome::default() };
        (self.run)(&mut trial)?;
        // Its buffers are done with.
        gpu.forget_groups();
        Ok(trial.outcome)
    }
}

/// What a case found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the results were right.
    pub verdict: Verdict,
    /// Speeds of its parts; none at small shapes.
    pub speeds: Vec<Speed>,
}

/// A case under way.
struct Trial<'a> {
    gpu: &'a Arc<Gpu>,
    seconds: f64,
    outcome: Outcome,
}

impl Trial<'_> {
    /// Measures `call`, which gets the number of the call.
    fn time(&mut self, name: &str, work: Work, call: impl FnMut(usize) -> Result<()>) -> Result<()> {
        self.outcome.speeds.push(time(self.gpu, name, work, self.seconds, call)?);
        Ok(())
    }
}

/// All cases of these shapes.
pub fn cases(shapes: Shapes) -> Vec<Case> {
    [linear::cases, experts::cases, hyper::cases, attention::cases, draft::cases, steer::cases]
        .into_iter()
        .flat_map(|cases| cases(shapes))
        .collect()
}
