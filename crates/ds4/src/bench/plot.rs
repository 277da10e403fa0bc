//! Speeds over context lengths as SVG, without anything from outside.

use super::result::{Kind, Report, Row};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
/// Room for labels: left, right, top, bottom.
const MARGIN: [f64; 4] = [64.0, 16.0, 40.0, 44.0];
/// Colours that people with any colour vision tell apart.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Lines across a panel.
const STEPS: usize = 4;

/// A line of points.
struct Series {
    label: String,
    points: Vec<(f64, f64)>,
}

/// Both speeds, one panel each.
pub fn svg(report: &Report) -> String {
    let (x_label, prefill, generation) = match report.kind {
        Kind::Local => ("context, tokens", series(report, "reading", |row| row.prefill_tps, true), by_batch(report)),
        Kind::Server => {
            let ttft = |row: &Row| row.ttft_ms.map_or(0.0, |ttft| ttft[0]);
            let all = |row: &Row| row.gen_tps;
            ("clients", clients(report, "first token", ttft), clients(report, "all clients", all))
        }
    };
    let titles = match report.kind {
        Kind::Local => ["prefill, tokens/s", "generation, tokens/s"],
        Kind::Server => ["time to first token, ms (median)", "generation, tokens/s, all clients together"],
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>ds4 bench: {}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        2.0 * HEIGHT,
        escape(&report.name)
    );
    panel(&mut text, 0.0, titles[0], x_label, &prefill);
    panel(&mut text, HEIGHT, titles[1], x_label, &generation);
    text + "</svg>\n"
}

fn series(report: &Report, label: &str, y: impl Fn(&Row) -> f64, first_batch_only: bool) -> Vec<Series> {
    let first = report.rows.first().map_or(1, |row| row.batch);
    let rows = report.rows.iter().filter(|row| !first_batch_only || row.batch == first);
    vec![Series { label: label.to_owned(), points: rows.map(|row| (row.ctx_tokens as f64, y(row))).collect() }]
}

fn by_batch(report: &Report) -> Vec<Series> {
    let mut batches: Vec<usize> = report.rows.iter().map(|row| row.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let of = |batch: usize| report.rows.iter().filter(move |row| row.batch == batch);
    let points = |batch| of(batch).map(|row| (row.ctx_tokens as f64, row.gen_tps)).collect();
    batches.into_iter().map(|batch| Series { label: format!("batch {batch}"), points: points(batch) }).collect()
}

fn clients(report: &Report, label: &str, y: impl Fn(&Row) -> f64) -> Vec<Series> {
    let points = report.rows.iter().map(|row| (row.batch as f64, y(row))).collect();
    vec![Series { label: label.to_owned(), points }]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A round number that is not below `value`.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 8.0, 10.0].into_iter().map(|factor| factor * power).find(|top| *top >= value).unwrap_or(value)
}

/// A number for people: no more digits than it needs.
fn label(value: f64) -> String {
    if value >= 100.0 || value == value.trunc() { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn panel(text: &mut String, top: f64, title: &str, x_label: &str, series: &[Series]) {
    let [left, right, above, below] = MARGIN;
    let (inner, tall) = (WIDTH - left - right, HEIGHT - above - below);
    let points = || series.iter().flat_map(|series| &series.points);
    let x_max = round_up(points().map(|point| point.0).fold(0.0, f64::max));
    let y_max = round_up(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |value: f64| left + value / x_max * inner;
    let y = |value: f64| top + above + (1.0 - value / y_max) * tall;
    // Writing to a string does not fail.
    let _ = writeln!(text, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + 20.0);
    for step in 0..=STEPS {
        let (gx, gy) = (x_max * step as f64 / STEPS as f64, y_max * step as f64 / STEPS as f64);
        let _ = writeln!(
            text,
            "<path d=\"M{left} {:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y(gy),
            left + inner,
            left - 6.0,
            y(gy) + 4.0,
            label(gy),
            x(gx),
            top + above + tall + 16.0,
            label(gx),
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_label}</text>",
        left + inner / 2.0,
        top + HEIGHT - 10.0
    );
    for (index, series) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line: Vec<String> = series.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (a, b) in &series.points {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                x(*a),
                y(*b),
                label(*a),
                label(*b)
            );
        }
        let (at, name) = (left + 200.0 + 110.0 * index as f64, escape(&series.label));
        let _ = writeln!(text, "<text x=\"{at}\" y=\"{}\" fill=\"{colour}\">{name}</text>", top + 20.0);
    }
}
