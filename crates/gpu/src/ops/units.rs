//! Kernels on matrix units, and tiles of many rows with or without them: their sizes and their texts.

use super::source::{Source, THREADS, Use, has_lattice};
use crate::device::Caps;
use crate::inline::inlined;
use ds4_engine::Precision;
use ds4_quant::Format;

/// Width of the subgroups that share a matrix product on matrix units.
const UNITS_SUBGROUP: u32 = 32;
/// Workgroup memory for tiles of 128×128 on matrix units.
pub(crate) const UNITS_BYTES: u32 = 48 << 10;
/// Rows from which a few go through matrix units, and how many these take.
const FEW_UNITS_LEAST: usize = 5;
pub(super) const FEW_UNITS_ROWS: usize = UNITS_TILE;
/// Rows and columns of a product of matrix units.
const UNITS_TILE: usize = 16;
/// Subgroups of such a workgroup.
const FEW_UNITS_SUBGROUPS: usize = (THREADS / UNITS_SUBGROUP) as usize;
/// Columns that a subgroup takes in a step, and fewest steps of one.
const FEW_UNITS_COLS: usize = 64;
const FEW_UNITS_STEPS_LEAST: usize = 8;
/// Steps of a subgroup whose weights are on their way.
const FEW_UNITS_AHEAD: u32 = 2;
/// Rows of the smallest tile.
pub(super) const TILE_ROWS_LEAST: usize = 32;

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../kernels/linear/", $name, ".wgsl"))
    };
}

/// Sizes of a tile kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tile {
    /// Rows of the matrix.
    pub(super) out: usize,
    /// Rows of activations.
    pub(super) rows: usize,
    /// On matrix units: subgroups side by side along the rows of activations. The others are along those of the matrix.
    pub(super) units: Option<usize>,
}

/// Matrix units as `kernels/linear/matmul_units.wgsl` uses them.
#[derive(Debug)]
pub struct Units {
    /// Rows and columns of a product.
    pub edge: usize,
    /// Its text.
    pub products: &'static str,
    /// Text of tiles in workgroup memory.
    pub memory: &'static str,
    /// Threads of a workgroup.
    pub threads: u32,
    /// Matrix rows of a tile.
    pub out: usize,
    /// Activation rows of a tile, with how many subgroups are side by side along them: the largest first.
    pub tiles: &'static [(usize, usize)],
    /// Columns that a tile has at a time.
    pub cols: usize,
    /// Workgroup memory for all but the largest.
    pub bytes_least: u32,
}

/// Units of 16×16×16.
pub static UNITS16: Units = Units {
    edge: UNITS_TILE,
    products: part!("units16"),
    memory: part!("tile_pairs"),
    threads: THREADS,
    out: 128,
    tiles: &[(128, 2), (64, 2), (TILE_ROWS_LEAST, 1)],
    cols: 64,
    bytes_least: 40 << 10,
};

/// Units of 8×8×8, on GPUs with fewer registers and 32 KB of workgroup memory, which several workgroups should share.
pub static UNITS8: Units = Units {
    edge: 8,
    products: part!("units8"),
    memory: part!("tile_values"),
    threads: 128,
    out: 64,
    tiles: &[(64, 2), (TILE_ROWS_LEAST, 2)],
    cols: 32,
    bytes_least: 16 << 10,
};

impl Units {
    /// Those of a device that takes many rows through them.
    pub(super) fn of(caps: Caps, precision: Precision) -> Option<&'static Self> {
        let fits = |units: &Self| precision == Precision::Fast && caps.f16 && caps.workgroup_bytes >= units.bytes_least;
        let has_width = caps.subgroup == Some(UNITS_SUBGROUP);
        // Where not even a kernel could tell the width, units of another one would not have passed the check (`Gpu::open`).
        let may_have_width = has_width || caps.subgroup.is_none();
        let all = [(caps.matrix16 && has_width, &UNITS16), (caps.matrix8 && may_have_width, &UNITS8)];
        all.into_iter().find(|(has, units)| *has && fits(units)).map(|(_, units)| units)
    }
}

/// Whether many rows go through matrix units.
pub(crate) fn has_units(caps: Caps, precision: Precision) -> bool {
    Units::of(caps, precision).is_some()
}

/// The kernel of tiles of one matrix for rows, or for the slots of experts of which `slots_per_x` share a row.
pub(super) fn tile_source(
    precision: Precision,
    w: Use,
    units: Option<&Units>,
    tile: Tile,
    slots_per_x: Option<usize>,
    prefetch: bool,
) -> (Source, Vec<(&'static str, u32)>) {
    let mut source = Source::new(precision);
    source.add("struct Args { rows: u32 }\nvar<immediate> args: Args;");
    source.bind("x", if tile.units.is_some() { "vec4<f16>" } else { "vec4<f32>" }, false);
    if slots_per_x.is_some() {
        source.bind("tiles", "vec4<u32>", false);
        source.bind("order", "u32", false);
    }
    source.add(if slots_per_x.is_some() { part!("tile_slots") } else { part!("tile_rows") });
    source.add_matrices(&[w], Some("f32"), None);
    let mut constants =
        vec![("BR", tile.out as u32), ("BT", tile.rows as u32), ("SLOTS_PER_X", slots_per_x.unwrap_or(1) as u32)];
    match units.zip(tile.units) {
        None => source.add(part!("matmul")),
        Some((units, along_rows)) => {
            let subgroups = (units.threads / UNITS_SUBGROUP) as usize;
            let pieces = units.cols / (4 * w.vectors());
            let edge = units.edge;
            source.set_threads(units.threads);
            constants.extend([
                ("SUBGROUP", UNITS_SUBGROUP),
                ("UNIT", edge as u32),
                ("COLS", units.cols as u32),
                ("PIECES", pieces as u32),
                ("FETCH_W", (tile.out * pieces) as u32 / units.threads),
                ("FETCH_X", (tile.rows * units.cols / 4) as u32 / units.threads),
                ("SG_T", along_rows as u32),
                ("FR", (tile.out / edge / (subgroups / along_rows)) as u32),
                ("FT", (tile.rows / edge / along_rows) as u32),
            ]);
            source.add(&format!("const PREFETCH: bool = {prefetch};"));
            source.add(&inlined(&format!("{}\n{}", units.memory, units.products), part!("matmul_units")));
        }
    }
    (source, constants)
}

/// Whether a few rows have a kernel on these units.
pub(super) fn has_few_units(units: Option<&Units>) -> bool {
    units.is_some_and(|units| units.edge == UNITS_TILE)
}

/// Whether so many rows go through them together.
pub(super) fn fits_few_units(units: Option<&Units>, rows: usize, uses: &[Use]) -> bool {
    let fits = |u: &Use| {
        u.cols.is_multiple_of(FEW_UNITS_COLS * FEW_UNITS_SUBGROUPS)
            && u.per_group.is_multiple_of(UNITS_TILE)
            && !has_lattice(&[*u])
    };
    has_few_units(units) && (FEW_UNITS_LEAST..=FEW_UNITS_ROWS).contains(&rows) && uses.iter().all(fits)
}

/// Subgroups that share the columns of a tile of a few rows.
fn few_units_split(w: &Use) -> usize {
    let most = w.cols / FEW_UNITS_COLS / FEW_UNITS_STEPS_LEAST;
    (1 << most.max(1).ilog2()).min(FEW_UNITS_SUBGROUPS)
}

/// Workgroups that it has for this matrix.
pub(super) fn few_units_workgroups(w: &Use) -> u32 {
    w.out.div_ceil(UNITS_TILE).div_ceil(FEW_UNITS_SUBGROUPS / few_units_split(w)) as u32
}

/// The kernel of a few rows on matrix units.
pub(super) fn few_units_source(precision: Precision, rows: usize, uses: &[Use]) -> (Source, Vec<(&'static str, u32)>) {
    let mut source = Source::new(precision);
    source.bind("x", "vec4<f16>", false);
    source.add_matrices(uses, Some("f32"), None);
    source.add(part!("few_units_memory"));
    let (mut calls, mut first) = (String::new(), 0);
    for (i, u) in uses.iter().enumerate() {
        // Pieces that a step has of a row, and that a thread has of its subgroup's.
        let pieces = 16 / u.vectors() as u32;
        source.add(&format!("const PIECES_{i}: u32 = {pieces}u;"));
        let turns = UNITS_TILE as u32 * pieces / UNITS_SUBGROUP;
        source.add(&format!("const TURNS_{i}: u32 = {turns}u;"));
        let split = few_units_split(u);
        source.add(&format!("const SPLIT_{i}: u32 = {split}u;"));
        source.add(&format!("const TILES_{i}: u32 = {}u;", FEW_UNITS_SUBGROUPS / split));
        source.add(&format!("const MOVED_{i}: u32 = {}u;", (FEW_UNITS_AHEAD - 1) * turns));
        let piece = match u.format {
            Format::Q8_0 => part!("piece_q8_0"),
            Format::F16 => part!("piece_f16"),
            _ => part!("piece"),
        };
        source.add(&piece.replace('$', &i.to_string()));
        source.add(&part!("few_units").replace('$', &i.to_string()));
        let end = first + few_units_workgroups(u);
        calls.push_str(&format!("if (group.x < {end}u) {{ product_{i}(group.x - {first}u, thread); return; }}\n"));
        first = end;
    }
    source.add(&format!(
        "@compute @workgroup_size(WG)\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{\n{calls}}}"
    ));
    let width = uses.first().map_or(0, |u| u.x_width / 4);
    let constants = vec![("R", rows as u32), ("X_VECTORS", width as u32), ("AHEAD", FEW_UNITS_AHEAD)];
    (source, constants)
}

#[cfg(test)]
mod tests {
    use super::super::linear::{Limits, Linear, Tuning};
    use super::super::source::Input;
    use super::*;
    use crate::gpu::Gpu;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    const CAPS: Caps = Caps {
        subgroup: Some(UNITS_SUBGROUP),
        f16: true,
        matrix16: true,
        matrix8: false,
        timestamps: false,
        workgroup_bytes: 48 << 10,
        workgroup_threads: 1024,
        buffers: 29,
        binding_bytes: 1 << 30,
        is_software: false,
    };

    fn used(format: Format) -> Use {
        Use {
            format,
            out: 2048,
            cols: 4096,
            planes: [0, 1 << 20, 1 << 21, 1 << 22],
            input: Input::Float,
            batch: 9,
            x_width: 4096,
            width: 2048,
            per_group: 2048,
        }
    }

    fn valid(text: &str) {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text)).unwrap();
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
        validator.validate(&module).map_err(|e| e.emit_to_string(text)).unwrap();
    }

    /// Matrix units are rare where tests run, so that at least the language must be right.
    #[test]
    fn products_on_matrix_units_are_valid() {
        let caps = CAPS;
        for format in Format::ALL {
            for units in [&UNITS16, &UNITS8] {
                for (rows, along_rows) in units.tiles.iter().copied() {
                    for slots in [None, Some(6)] {
                        let tile = Tile { out: units.out, rows, units: Some(along_rows) };
                        let w = Use { batch: 1, ..used(format) };
                        let (source, constants) =
                            tile_source(Precision::Fast, w, Some(units), tile, slots, rows > TILE_ROWS_LEAST);
                        valid(&source.text(caps, &[w], 1, &constants));
                    }
                }
            }
            let w = used(format);
            let uses = [w, Use { format: Format::F16, ..w }];
            let (source, constants) = few_units_source(Precision::Fast, 9, &uses);
            valid(&source.text(caps, &uses, 1, &constants));
        }
    }

    #[test]
    fn tiles_are_as_large_as_rows_and_workgroups_allow() {
        let gpu = Gpu::open(None).unwrap();
        let limits = Limits { rows: 512, cols: 256, normed_cols: 256 };
        let tile = |units, rows, out, matrices| {
            let tuning = Tuning::of(Precision::Fast);
            let linear = Linear::with_units(&gpu, Precision::Fast, limits, tuning, Some(units)).unwrap();
            let tile = linear.tile(rows, out, matrices);
            (tile.out, tile.rows, tile.units)
        };
        // As in the check of units of 8×8.
        assert_eq!(tile(&UNITS8, 40, 70, 1), (64, 32, Some(2)));
        assert_eq!(tile(&UNITS8, 44, 8, 128), (64, 64, Some(2)));
        assert_eq!(tile(&UNITS8, 512, 4096, 1), (64, 64, Some(2)));
        assert_eq!(tile(&UNITS16, 40, 70, 1), (128, 32, Some(1)));
        // The software device has too little workgroup memory for the largest.
        assert_eq!(tile(&UNITS16, 512, 4096, 1), (128, 64, Some(2)));
    }

    #[test]
    fn units_are_those_of_the_device() {
        let none = Caps { subgroup: Some(32), matrix16: false, workgroup_bytes: 32 << 10, ..CAPS };
        let edge = |caps: Caps| Units::of(caps, Precision::Fast).map(|units| units.edge);
        // A Mac on which the width could not be found.
        let mac = Caps { subgroup: None, matrix8: true, ..none };
        assert_eq!((edge(CAPS), edge(mac), edge(none)), (Some(16), Some(8), None));
        assert_eq!(edge(Caps { matrix8: true, ..CAPS }), Some(16));
        assert_eq!(edge(Caps { subgroup: Some(64), ..mac }), None);
        assert_eq!(edge(Caps { f16: false, ..mac }), None);
        assert_eq!(edge(Caps { subgroup: None, ..CAPS }), None);
        assert!(Units::of(mac, Precision::Exact).is_none());
        assert!(has_few_units(Some(&UNITS16)) && !has_few_units(Some(&UNITS8)) && !has_few_units(None));
    }
}
