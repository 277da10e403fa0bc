//! `ds4 devices`: the GPUs of this machine.

use crate::args::DevicesArgs;
use crate::output;
use anyhow::Result;
use serde_json::json;

pub fn run(args: &DevicesArgs) -> Result<()> {
    let devices = ds4_gpu::devices();
    if args.json {
        let one = |d: &ds4_gpu::DeviceInfo| {
            json!({
                "index": d.index, "name": d.name, "api": d.api, "driver": d.driver, "kind": d.kind,
                "subgroup": d.caps.subgroup, "f16": d.caps.f16, "matrix_16": d.caps.matrix16,
                "matrix_8": d.caps.matrix8, "binding_bytes": d.caps.binding_bytes,
            })
        };
        return output::print_json(&devices.iter().map(one).collect::<Vec<_>>());
    }
    if devices.is_empty() {
        output::notice("no GPU was found; on Linux its Vulkan driver must be installed");
    }
    for d in &devices {
        let subgroup = d.caps.subgroup.map_or_else(|| "-".to_owned(), |width| width.to_string());
        let yes = |has: bool| if has { "yes" } else { "no" };
        output::print(&format!(
            "{}: {d}\n   driver {}; subgroups of {subgroup}, f16 {}, matrix units {}\n",
            d.index,
            d.driver,
            yes(d.caps.f16),
            yes(d.caps.matrix16 || d.caps.matrix8),
        ))?;
    }
    Ok(())
}
