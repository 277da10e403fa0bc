//! The text of kernels that multiply matrices: one set of functions a matrix (`sums_0`, `sums_1`, …), made from the part of its format.

use crate::device::Caps;
use crate::gpu::{Gpu, Kernel};
use crate::parts;
use crate::rows::BYTE_UNITS;
use crate::weights::Matrix;
use ds4_engine::Precision;
use ds4_engine::Result;
use ds4_quant::Format;
use std::fmt::Write;
use std::sync::Arc;

/// Threads of a workgroup.
pub(crate) const THREADS: u32 = 256;
/// Threads of a team where subgroups are not used.
const PLAIN_LANES: u32 = 32;

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../kernels/linear/", $name, ".wgsl"))
    };
}

/// What a kernel multiplies a matrix with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Input {
    /// f32 activations.
    Float,
    /// Activations as bytes (`quantize.wgsl`).
    Bytes,
}

impl Input {
    /// The input in front of `format` for rows of `cols` values, `rows` at a time.
    pub(crate) fn in_front_of(
        precision: Precision,
        format: Format,
        cols: usize,
        rows: usize,
        q8_0_bytes_from: usize,
    ) -> Self {
        let rows_least = if format == Format::Q8_0 { q8_0_bytes_from } else { 1 };
        let is_float = format.block_len() == 1 || !cols.is_multiple_of(64);
        if precision == Precision::Exact || is_float || rows < rows_least { Self::Float } else { Self::Bytes }
    }

    /// Units of 16 bytes of `cols` values.
    pub(crate) fn units(self, cols: usize) -> u32 {
        (match self {
            Self::Float => cols / 4,
            Self::Bytes => cols / 64 * BYTE_UNITS,
        }) as u32
    }
}

/// One matrix as a kernel uses it. Equal ones have equal text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Use {
    pub format: Format,
    /// Rows that have one input, of one matrix of the stack.
    pub out: usize,
    pub cols: usize,
    pub planes: [u32; 4],
    pub input: Input,
    /// Activation rows at a time.
    pub batch: usize,
    /// Values of a row of the input.
    pub x_width: usize,
    /// Values of a row of the output.
    pub width: usize,
    /// Rows of the matrix after which the next group of `cols` inputs begins.
    pub per_group: usize,
}

impl Use {
    pub(crate) fn new(m: &Matrix, input: Input, batch: usize, x_width: usize, width: usize) -> Self {
        let (format, out, cols, planes) = (m.format, m.shape.rows, m.shape.cols, m.planes);
        Self { format, out, cols, planes, input, batch, x_width, width, per_group: out }
    }

    /// Vectors of four weights that a thread takes in a step.
    pub(crate) fn vectors(&self) -> usize {
        match (self.format, self.input) {
            (Format::F32 | Format::F16 | Format::Bf16, _) => 2,
            (Format::Q8_0, _) | (_, Input::Float) => 4,
            (_, Input::Bytes) => 16,
        }
    }

    /// Steps whose weights a thread reads at once: as many as registers allow, and as divide its share of a row.
    fn depth(&self, teams: Teams) -> u32 {
        let most = match (self.vectors(), self.batch) {
            (16, 1) => 4,
            (16, _) => 2,
            (2, 3..) => 4,
            _ => 8,
        };
        let steps = (self.cols / (4 * self.vectors())) as u32;
        let fits = |depth: &u32| depth * teams.rows <= most && steps.is_multiple_of(teams.lanes * depth);
        [8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }

    fn has_min(&self) -> bool {
        matches!(self.format, Format::Q2K | Format::Q4K | Format::Q5K)
    }

    fn load(&self) -> &'static str {
        match self.format {
            Format::F32 => part!("f32"),
            Format::F16 => part!("f16"),
            Format::Bf16 => part!("bf16"),
            Format::Q8_0 => part!("q8_0"),
            Format::Q2K => part!("q2_k"),
            Format::Q4K => part!("q4_k"),
            Format::Q5K => part!("q5_k"),
            Format::Q6K => part!("q6_k"),
            Format::Iq2Xxs => part!("iq2_xxs"),
        }
    }

    fn sums(&self) -> &'static str {
        match (self.input, self.format) {
            (Input::Float, Format::Q8_0) => part!("sums_float_q8_0"),
            (Input::Float, _) => part!("sums_float"),
            (Input::Bytes, Format::Q8_0) => part!("sums_int8_q8_0"),
            (Input::Bytes, _) => part!("sums_int8"),
        }
    }
}

/// How matrices are shared out.
#[derive(Clone, Copy)]
pub(crate) struct Teams {
    /// Threads of a team.
    pub lanes: u32,
    /// Matrix rows that it takes at once.
    pub rows: u32,
}

/// Threads of a team: a subgroup, where its width is known.
pub(crate) fn lanes(caps: Caps) -> u32 {
    caps.subgroup.filter(|width| (8..=64).contains(width)).unwrap_or(PLAIN_LANES)
}

/// A kernel's text in the making.
pub(crate) struct Source {
    text: String,
    bindings: u32,
    threads: u32,
}

impl Source {
    /// The parts that all these kernels have.
    pub(crate) fn new(precision: Precision) -> Self {
        let sum = match precision {
            Precision::Exact => part!("sum_exact"),
            Precision::Fast => part!("sum_fast"),
        };
        let text = format!("{}{}{sum}", parts::ONCE, part!("common"));
        Self { text, bindings: 0, threads: THREADS }
    }

    /// Another number of threads than `THREADS`.
    pub(crate) fn set_threads(&mut self, threads: u32) {
        self.threads = threads;
    }

    /// The next binding: `name: array<of>`.
    pub(crate) fn bind(&mut self, name: &str, of: &str, is_written: bool) {
        let access = if is_written { "read_write" } else { "read" };
        let at = self.bindings;
        let _ = writeln!(self.text, "@group(0) @binding({at}) var<storage, {access}> {name}: array<{of}>;");
        self.bindings += 1;
    }

    /// Adds text.
    pub(crate) fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Adds those of `parts` that are not there yet.
    pub(crate) fn add_once(&mut self, parts: &[&str]) {
        for part in parts {
            if !self.text.contains(part) {
                self.add(part);
            }
        }
    }

    /// `team_sum` for this device.
    pub(crate) fn add_teams(&mut self, caps: Caps) {
        let lanes = lanes(caps);
        self.add(if caps.subgroup == Some(lanes) { part!("team_subgroup") } else { part!("team") });
    }

    /// Adds functions for matrices 0, 1, … and binds their weights; where `outputs` tells their type, also `out_0`, ….
    pub(crate) fn add_matrices(&mut self, uses: &[Use], output: Option<&str>, sums: Option<Teams>) {
        let has = |formats: &[Format]| uses.iter().any(|u| formats.contains(&u.format));
        if has(&[Format::Q4K, Format::Q5K]) {
            self.add(part!("pairs"));
        }
        if has(&[Format::Q6K]) {
            self.add(part!("less_32"));
        }
        if has_lattice(uses) {
            self.bind("lattice", "vec2<u32>", false);
            self.add(part!("lattice"));
        }
        for (i, u) in uses.iter().enumerate() {
            self.bind(&format!("w_{i}"), "vec4<u32>", false);
            if let Some(of) = output {
                self.bind(&format!("out_{i}"), of, true);
            }
            let numbers = [
                ("OUT", u.out as u32),
                ("COLS", u.cols as u32),
                ("VECTORS", u.vectors() as u32),
                ("CHUNKS", (u.cols / (4 * u.vectors())) as u32),
                ("PLANE1", u.planes[1]),
                ("PLANE2", u.planes[2]),
                ("PLANE3", u.planes[3]),
                ("R", u.batch as u32),
                ("X_STRIDE", u.input.units(u.x_width)),
                ("GROUP_STRIDE", u.input.units(u.cols)),
                ("PER_GROUP", u.per_group as u32),
                ("WIDTH", u.width as u32),
            ];
            let numbers = numbers.into_iter().chain(sums.map(|teams| ("DEPTH", u.depth(teams))));
            for (name, value) in numbers {
                let _ = writeln!(self.text, "const {name}_{i}: u32 = {value}u;");
            }
            let _ = writeln!(self.text, "const HAS_MIN_{i}: bool = {};", u.has_min());
            let number = i.to_string();
            let mut add = |text: &str| self.text.push_str(&text.replace('$', &number));
            add(u.load());
            if sums.is_some() {
                add(u.sums());
            }
        }
    }

    /// Compiles the text, with so many copies of the lattice in workgroup memory and `PREPARE` replaced by what must run first.
    pub(crate) fn build(
        self,
        gpu: &Gpu,
        name: &str,
        uses: &[Use],
        lattice_copies: u32,
        constants: &[(&str, u32)],
    ) -> Result<Arc<Kernel>> {
        let (all, text) = self.finish(gpu.caps(), uses, lattice_copies, constants);
        gpu.kernel_of(name, &all, &text)
    }

    fn finish<'a>(
        self,
        caps: Caps,
        uses: &[Use],
        lattice_copies: u32,
        constants: &[(&'a str, u32)],
    ) -> (Vec<(&'a str, u32)>, String) {
        let lanes = lanes(caps);
        let (threads, teams) = (self.threads, self.threads / lanes);
        let mut all = vec![("WG", threads), ("LANES", lanes), ("TEAMS", teams), ("COPIES", lattice_copies)];
        all.extend(constants);
        let prepare = if has_lattice(uses) { "load_lattice(thread);" } else { "" };
        let text = self.text.replace("PREPARE", prepare);
        (all, text)
    }

    /// The whole text for a device of these capabilities.
    #[cfg(test)]
    pub(crate) fn text(self, caps: Caps, uses: &[Use], lattice_copies: u32, constants: &[(&str, u32)]) -> String {
        let (all, text) = self.finish(caps, uses, lattice_copies, constants);
        crate::gpu::source(caps, &all, &[&text])
    }
}

/// Whether the kernel takes the lattice as a buffer.
pub(crate) fn has_lattice(uses: &[Use]) -> bool {
    uses.iter().any(|u| u.format == Format::Iq2Xxs)
}
