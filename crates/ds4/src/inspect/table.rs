//! The report for people.

use super::recipe::{Recipe, TypeUse};
use super::report::{ContextMemory, HyperParameter, Report, TensorFacts, TypeSum};
use crate::output::{Bytes, printable};

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut blocks = vec![head(report), hyper_parameters(&report.hyper_parameters), recipe(&report.recipe)];
    blocks.push(types(&report.tensor_types));
    blocks.push(contexts(&report.kv.contexts, report.kv.bytes_per_token));
    blocks.extend(report.tensors.as_deref().map(tensors));
    blocks.join("\n")
}

fn head(report: &Report) -> String {
    let (file, layers) = (&report.file, &report.layers);
    let mut text = printable(report.name.as_deref().unwrap_or("(no name)")) + "\n";
    let mut line = |label: &str, value: String| text += &format!("  {label:<12}{value}\n");
    line("file", format!("{}, {}, GGUF v{}", printable(&file.path), Bytes(file.bytes), file.gguf_version));
    line(
        "content",
        format!("{} keys, {} tensors, {} of tensor data", file.keys, file.tensors, Bytes(file.tensor_bytes)),
    );
    if file.tensor_bytes > file.bytes {
        line("", "tensors share bytes: together they are larger than the file".into());
    }
    let bits = file.tensor_bytes as f64 * 8.0 / report.parameters.max(1) as f64;
    line("parameters", format!("{}, {bits:.2} bits each", quantity(report.parameters)));
    line(
        "layers",
        format!(
            "{}: {} sliding, {} csa (ratio 4, indexer), {} hca (ratio 128); the first {} hash-routed",
            layers.count, layers.sliding, layers.csa, layers.hca, layers.hash_routed
        ),
    );
    let tokenizer = report.tokenizer.as_ref().map_or("none".into(), |t| {
        let splitting = printable(t.splitting.as_deref().unwrap_or("not named"));
        format!("{} tokens, {} merges, splitting {splitting}", t.tokens, t.merges)
    });
    line("tokenizer", tokenizer);
    line("recipe", report.recipe.name.unwrap_or("not a known one").into());
    text
}

fn hyper_parameters(parameters: &[HyperParameter]) -> String {
    let line = |p: &HyperParameter| format!("  {:<40}{:>10}   {}\n", p.key, p.value.to_string(), p.meaning);
    format!("Hyper-parameters (deepseek4.…)\n{}", parameters.iter().map(line).collect::<String>())
}

fn recipe(recipe: &Recipe) -> String {
    let mut text = format!("{:<36}{:<9}{:>7}{:>13}\n", "Types by tensor family", "type", "tensors", "size");
    for family in &recipe.families {
        // Layers matter only where they differ.
        let is_mixed = family.types.len() > 1;
        let layers = |used: &TypeUse| match is_mixed && !used.layers.is_empty() {
            true => format!("   layers {}", used.layers),
            false => String::new(),
        };
        for (n, used) in family.types.iter().enumerate() {
            let name = if n == 0 { family.family } else { "" };
            let TypeUse { ty, tensors, bytes, .. } = used;
            text += &format!("  {name:<34}{ty:<9}{tensors:>7}{:>13}{}\n", Bytes(*bytes), layers(used));
        }
    }
    text
}

fn types(sums: &[TypeSum]) -> String {
    let total: u64 = sums.iter().fold(0, |sum, t| sum.saturating_add(t.bytes));
    let line = |t: &TypeSum| {
        let share = 100.0 * t.bytes as f64 / total.max(1) as f64;
        format!("  {:<43}{:>7}{:>13}{share:>7.1} %\n", t.ty, t.tensors, Bytes(t.bytes))
    };
    let head = format!("{:<45}{:>7}{:>13}\n", "Size by type", "tensors", "size");
    head + &sums.iter().map(line).collect::<String>()
}

fn contexts(contexts: &[ContextMemory], bytes_per_token: f64) -> String {
    let line = |c: &ContextMemory| {
        let (history, frontier, total) = (Bytes(c.history_bytes), Bytes(c.frontier_bytes), Bytes(c.total_bytes));
        format!("  {:>12}{history:>13}{frontier:>13}{total:>13}\n", c.tokens)
    };
    let head = format!("  {:>12}{:>13}{:>13}{:>13}\n", "tokens", "history", "frontier", "total");
    let lines: String = contexts.iter().map(line).collect();
    format!("KV memory by context, {bytes_per_token:.1} bytes a token\n{head}{lines}")
}

fn tensors(tensors: &[TensorFacts]) -> String {
    let width = tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or(0);
    let line = |t: &TensorFacts| {
        let dims = t.dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        format!("  {:<width$}  {:<8} {dims:<22}{:>16} bytes at {}\n", printable(&t.name), t.ty, t.bytes, t.offset)
    };
    format!("Tensors, the contiguous dimension first\n{}", tensors.iter().map(line).collect::<String>())
}

/// A number of parameters: `284.33 billion`.
fn quantity(n: u64) -> String {
    match n {
        0..1_000_000 => n.to_string(),
        1_000_000..1_000_000_000 => format!("{:.2} million", n as f64 / 1e6),
        _ => format!("{:.2} billion", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::quantity;

    #[test]
    fn parameters_are_counted_in_words() {
        assert_eq!(quantity(999_999), "999999");
        assert_eq!(quantity(5_898_240), "5.90 million");
        assert_eq!(quantity(284_334_000_000), "284.33 billion");
    }
}
