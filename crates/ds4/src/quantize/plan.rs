//! What happens to each tensor.

use crate::recipe::{Family, Recipe};
use anyhow::{Context, Result, anyhow, bail};
use ds4_convert::checkpoint::{Checkpoint, Matrix};
use ds4_convert::{Importance, names};
use ds4_engine::weights::{format_of, tensor_type};
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

/// A stack of matrices, rows one after the other, to be stored in another format.
pub struct Work<'a> {
    /// Where the weights are.
    pub from: Source<'a>,
    /// Format of the output; `None` for whole numbers of 32 bits.
    pub to: Option<Format>,
    /// Columns.
    pub cols: usize,
    /// Rows of a matrix.
    pub rows: usize,
    /// Matrices.
    pub parts: usize,
    /// Values for the columns of each matrix, where they are known.
    pub importance: Vec<Option<&'a [f32]>>,
}

/// Where weights are.
pub enum Source<'a> {
    /// In a GGUF file, all matrices together.
    Gguf(Format, &'a [u8]),
    /// In an official checkpoint, matrix by matrix.
    Checkpoint(Vec<Matrix<'a>>),
}

/// What is read: a GGUF file; with a checkpoint, only what tensors there are and the metadata are from the file.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The file.
    pub file: &'a File,
    /// Where the weights are, if not there.
    pub checkpoint: Option<&'a Checkpoint>,
}

/// Whether a format is chosen by a search that weighs errors (`spec/quants.md` §4).
fn makes_use_of_importance(format: Format) -> bool {
    matches!(format, Format::Q2K | Format::Q4K | Format::Q5K | Format::Q6K | Format::Iq2Xxs)
}

impl Work<'_> {
    /// Bytes of a row of the output.
    pub fn row_bytes(&self) -> usize {
        self.to.map_or(self.cols * size_of::<i32>(), |to| self.cols / to.block_len() * to.block_bytes())
    }
}

impl<'a> Plan<'a> {
    /// Refuses everything that cannot work, before any weight is read.
    pub fn new(input: Input<'a>, recipe: Recipe, importance: Option<&'a Importance>, is_strict: bool) -> Result<Self> {
        let mut plan = Self { conversions: Vec::new(), weighted: 0, missing: Vec::new() };
        for tensor in input.file.tensors() {
            let mut conversion = Conversion::new(input, tensor, recipe)?;
            if let Some(work) = conversion.work.as_mut().filter(|work| work.to.is_some_and(makes_use_of_importance)) {
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
    fn new(input: Input<'a>, tensor: &'a TensorInfo, recipe: Recipe) -> Result<Self> {
        let dim = |i: usize| tensor.dims.get(i).copied().unwrap_or(1) as usize;
        let (cols, rows, parts) = (dim(0), dim(1), dim(2) * dim(3));
        let (name, to) = (&tensor.name, recipe.format(Family::of(&tensor.name)));
        // Shapes of the model are multiples of the block lengths; another model's may not be.
        if let Some(to) = to.filter(|to| to.row_bytes(cols).is_none()) {
            let block = to.block_len();
            bail!("{name}: rows of {cols} weights do not fill blocks of {block} ({to}); choose another recipe");
        }
        let work = |from, to| Work { from, to, cols, rows, parts, importance: vec![None; parts] };
        let ty = to.map_or(tensor.ty, tensor_type);
        if let Some(checkpoint) = input.checkpoint {
            if to.is_none() && tensor.ty != TensorType::I32 {
                bail!("{name}: the recipe has no type for it, and {} cannot be made", tensor.ty);
            }
            let matrices = matrices(checkpoint, tensor, rows, cols, parts).with_context(|| name.clone())?;
            return Ok(Self { tensor, ty, work: Some(work(Source::Checkpoint(matrices), to)) });
        }
        let Some(to) = to else { return Ok(Self { tensor, ty, work: None }) };
        let from = format_of(tensor.ty)
            .ok_or_else(|| anyhow!("{name}: weights of type {} cannot be read; start from an F16 file", tensor.ty))?;
        let source = Source::Gguf(from, input.file.data(tensor));
        Ok(Self { tensor, ty, work: (from != to).then(|| work(source, Some(to))) })
    }
}

/// The matrices of a tensor in a checkpoint: one, or one an expert.
fn matrices<'a>(
    checkpoint: &'a Checkpoint,
    tensor: &TensorInfo,
    rows: usize,
    cols: usize,
    parts: usize,
) -> Result<Vec<Matrix<'a>>> {
    let is_stack = tensor.dims.len() > 2;
    let matrix = |part| {
        let name = names::official(&tensor.name, is_stack.then_some(part));
        let name =
            name.ok_or_else(|| anyhow!("the official checkpoint has no tensor for it; take another template"))?;
        Ok(checkpoint.matrix(&name, rows, cols)?)
    };
    (0..parts).map(matrix).collect()
}
