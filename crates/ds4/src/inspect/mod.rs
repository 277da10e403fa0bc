//! `ds4 inspect`: what a file holds and what its contexts need, from the file's directory alone.
//!
//! | file | content |
//! |---|---|
//! | `report.rs` | the facts, in the shape of the JSON output |
//! | `recipe.rs` | tensor families, their types, the recipe's name |
//! | `table.rs` | the same facts for people |

mod recipe;
mod report;
mod table;

use crate::args::InspectArgs;
use crate::model::Model;
use crate::output;
use anyhow::Result;

pub fn run(args: &InspectArgs) -> Result<()> {
    let model = Model::open(Some(&args.file))?;
    let report = report::Report::new(&args.file, &model, &args.ctx, args.tensors)?;
    if args.json { output::print_json(&report) } else { output::print(&table::text(&report)) }
}
