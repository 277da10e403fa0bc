//! What happens to each tensor.

use crate::recipe::{Family, Recipe, tensor_type};
use anyhow::{Result, anyhow, bail};
use ds4_convert::Importance;
use ds4_engine::weights::format_of;
use ds4_gguf::{File, TensorInfo, TensorType};
use ds4_quant::Format;

/// All tensors of a file with what happens to them.
pub struct Plan<'a> {
    /// In file order.
    pub conversions: Vec<Conversion<'a>>,
    /// Tensors that are stored with importance.
    pub weighted: usize,
    /// Names of those that could be, but are not in the matrix, or not all of their experts.
    pub missing: Vec<String>,
}

/// A tensor and what happens to it.
pub struct Conversion<'a> {
    /// The tensor of the input.
    pub tensor: &'a TensorInfo,
    /// Its type afterwards.
    pub ty: TensorType,
    /// How it is converted; `None` copies it.
    pub work: Option<Work<'a>>,
}

/// A stack of matrices, rows one after the other, in one format and in another.
pub struct Work<'a> {
    /// Format of the input.
    pub from: Format,
    /// Format of the output.
    pub to: Format,
    /// Columns.
    pub cols: usize,
    /// Rows of a matrix.
    pub rows: usize,
    /// Matrices.
    pub parts: usize,
    /// Values for the columns of each matrix, where they are known.
    pub importance: Vec<Option<&'a [f32]>>,
}

/// Whether a format is chosen by a search that weighs errors (`spec/quants.md` §4).
fn makes_use_of_importance(format: Format) -> bool {
    matches!(format, Format::Q2K | Format::Q4K | Format::Q5K | Format::Q6K | Format::Iq2Xxs)
}

impl Work<'_> {
    /// Bytes of a row of the output.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.to.block_len() * self.to.block_bytes()
    }

    /// Bytes of a row of the input.
    pub fn source_row_bytes(&self) -> usize {
        self.cols / self.from.block_len() * self.from.block_bytes()
    }
}

impl<'a> Plan<'a> {
    /// Refuses everything that cannot work, before any weight is read.
    pub fn new(input: &'a File, recipe: Recipe, importance: Option<&'a Importance>, is_strict: bool) -> Result<Self> {
        let mut plan = Self { conversions: Vec::new(), weighted: 0, missing: Vec::new() };
        for tensor in input.tensors() {
            let mut conversion = Conversion::new(tensor, recipe)?;
            if let Some(work) = conversion.work.as_mut().filter(|work| makes_use_of_importance(work.to)) {
                plan.weigh(&tensor.name, work, importance)?;
            }
            plan.conversions.push(conversion);
        }
        if importance.is_none() {
            return Ok(plan);
        }
        match plan.missing.first() {
            None if plan.weighted == 0 => {
                bail!("recipe {} has no tensor whose type makes use of a matrix; leave --imatrix away", recipe.name())
            }
            Some(first) if plan.weighted == 0 => {
                bail!(
                    "nothing in the matrix is for a tensor of the model, such as {first}; it was made for another model"
                )
            }
            Some(first) if is_strict => bail!(
                "{} tensors are not in the matrix, the first is {first}; read more prompts or leave --imatrix-strict away",
                plan.missing.len()
            ),
            _ => Ok(plan),
        }
    }

    fn weigh(&mut self, name: &str, work: &mut Work<'a>, importance: Option<&'a Importance>) -> Result<()> {
        let Some(importance) = importance else { return Ok(()) };
        for part in 0..work.parts {
            let found = importance.find(name, part, work.parts, work.cols)?;
            work.importance[part] = found.map(|(_, values)| values);
        }
        self.weighted += usize::from(work.importance.iter().any(Option::is_some));
        if work.importance.iter().any(Option::is_none) {
            self.missing.push(name.to_owned());
        }
        Ok(())
    }

    /// Weights of all tensors together.
    pub fn weights(&self) -> usize {
        self.conversions.iter().map(|c| c.tensor.n_elements() as usize).sum()
    }
}

impl<'a> Conversion<'a> {
    fn new(tensor: &'a TensorInfo, recipe: Recipe) -> Result<Self> {
        let copied = Self { tensor, ty: tensor.ty, work: None };
        let Some(to) = recipe.format(Family::of(&tensor.name)) else { return Ok(copied) };
        let from = format_of(tensor.ty).ok_or_else(|| {
            anyhow!("{}: weights of type {} cannot be read; start from an F16 file", tensor.name, tensor.ty)
        })?;
        if from == to {
            return Ok(copied);
        }
        let dim = |i: usize| tensor.dims.get(i).copied().unwrap_or(1) as usize;
        let (cols, rows, parts) = (dim(0), dim(1), dim(2) * dim(3));
        // Shapes of the model are multiples of the block lengths; another model's may not be.
        if to.row_bytes(cols).is_none() {
            bail!(
                "{}: rows of {cols} weights do not fill blocks of {} ({to}); choose another recipe",
                tensor.name,
                to.block_len()
            );
        }
        let work = Work { from, to, cols, rows, parts, importance: vec![None; parts] };
        Ok(Self { tensor, ty: tensor_type(to), work: Some(work) })
    }
}
