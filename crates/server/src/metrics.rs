//! What Prometheus reads at `/metrics`.

use crate::turn::Event;
use ds4_engine::scheduler::Stats;
use ds4_engine::speculation::DraftStats;
use prometheus::{Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Counters of the server; those of the engine are read from it.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    first_token: Histogram,
    per_token: Histogram,
}

impl Metrics {
    /// Counters at zero.
    ///
    /// # Errors
    /// A metric has a bad name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("ds4_http_requests_total", "Requests by route and status"),
            &["route", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("ds4_http_request_seconds", "Time to the head of the answer").buckets(scale()),
            &["route"],
        )?;
        let first = HistogramOpts::new("ds4_time_to_first_token_seconds", "Time from request to the first token");
        let first_token = Histogram::with_opts(first.buckets(scale()))?;
        let each = HistogramOpts::new("ds4_time_per_output_token_seconds", "Time between two events of an answer");
        let per_token = Histogram::with_opts(each.buckets(scale()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(first_token.clone()))?;
        registry.register(Box::new(per_token.clone()))?;
        Ok(Self { registry, requests, seconds, first_token, per_token })
    }

    /// Counts a request. `route` is a route's pattern, so that requests cannot make names.
    pub fn answered(&self, route: &str, status: u16, time: Duration) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route]).observe(time.as_secs_f64());
    }

    /// A clock for a turn that begins now.
    pub fn clock(&self) -> Clock {
        Clock { last: Instant::now(), tokens: 0, is_complete: false }
    }

    /// Everything, in Prometheus' text format.
    pub fn text(&self, stats: &Stats) -> String {
        let mut bytes = Vec::new();
        // Writing to memory fails only for metrics without names.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        let mut text = String::from_utf8(bytes).unwrap_or_default();
        let Stats { queued, prefilling, decoding, reserved_bytes, cache_bytes, checkpoints, .. } = *stats;
        let gauges = [
            ("ds4_queue_length", "gauge", queued as f64, "Requests that wait"),
            ("ds4_sequences_prefilling", "gauge", prefilling as f64, "Sequences whose prompt is being read"),
            ("ds4_sequences_decoding", "gauge", decoding as f64, "Sequences that decode"),
            ("ds4_kv_reserved_bytes", "gauge", reserved_bytes as f64, "KV memory of running sequences"),
            ("ds4_prefix_cache_bytes", "gauge", cache_bytes as f64, "KV memory of the prefix cache"),
            ("ds4_prefix_cache_checkpoints", "gauge", checkpoints as f64, "Checkpoints in the prefix cache"),
            ("ds4_prefill_tokens_total", "counter", stats.prefill_tokens as f64, "Prompt tokens evaluated"),
            ("ds4_cached_tokens_total", "counter", stats.cached_tokens as f64, "Prompt tokens found in the cache"),
            ("ds4_decode_tokens_total", "counter", stats.decode_tokens as f64, "Tokens of answers evaluated"),
            ("ds4_steps_total", "counter", stats.steps as f64, "Steps of the engine"),
            ("ds4_step_seconds_total", "counter", stats.step_seconds, "Time in steps"),
            ("ds4_cancelled_total", "counter", stats.cancelled as f64, "Answers that nobody waited for any more"),
        ];
        let disk = stats.disk.iter().flat_map(|disk| {
            [
                ("ds4_kv_disk_hits_total", "counter", disk.hits as f64, "Prompts that continued a checkpoint on disk"),
                (
                    "ds4_kv_disk_misses_total",
                    "counter",
                    disk.misses as f64,
                    "Prompts that found nothing longer on disk",
                ),
                (
                    "ds4_kv_disk_restored_tokens_total",
                    "counter",
                    disk.restored_tokens as f64,
                    "Tokens that were loaded from disk instead of being evaluated",
                ),
                ("ds4_kv_disk_read_bytes_total", "counter", disk.read_bytes as f64, "Bytes loaded from disk"),
                ("ds4_kv_disk_saves_total", "counter", disk.saves as f64, "Checkpoints saved"),
                ("ds4_kv_disk_page_bytes_total", "counter", disk.page_bytes as f64, "Bytes of history written"),
                ("ds4_kv_disk_other_bytes_total", "counter", disk.other_bytes as f64, "Bytes of frontiers written"),
                ("ds4_kv_disk_evictions_total", "counter", disk.evictions as f64, "Checkpoints removed to make room"),
                ("ds4_kv_disk_failures_total", "counter", disk.failures as f64, "Saves and loads that failed"),
                ("ds4_kv_disk_dropped_total", "counter", disk.dropped as f64, "Checkpoints lost since too many waited"),
                ("ds4_kv_disk_waiting", "gauge", disk.waiting as f64, "Checkpoints that wait to be saved"),
                ("ds4_kv_disk_loading", "gauge", stats.loading as f64, "Requests whose state is being loaded"),
                ("ds4_kv_disk_checkpoints", "gauge", disk.checkpoints as f64, "Checkpoints on disk"),
                ("ds4_kv_disk_bytes", "gauge", disk.bytes as f64, "Bytes on disk"),
            ]
        });
        for (name, kind, value, help) in gauges.into_iter().chain(disk) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        stats.drafts.iter().for_each(|drafts| add_drafts(&mut text, drafts));
        text
    }
}

/// What tokens that were guessed ahead came to.
fn add_drafts(text: &mut String, drafts: &DraftStats) {
    let by_depth = [
        (
            "ds4_drafts_total",
            "Tokens guessed ahead and evaluated, by their place behind the certain one",
            drafts.drafted,
        ),
        ("ds4_drafts_accepted_total", "Guessed tokens that the model chose too", drafts.accepted),
    ];
    for (name, help, counts) in by_depth {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (depth, count) in (1..).zip(counts) {
            let _ = writeln!(text, "{name}{{depth=\"{depth}\"}} {count}");
        }
    }
    let (seconds, depth) = (drafts.seconds, drafts.depth);
    let _ = writeln!(
        text,
        "# HELP ds4_draft_seconds_total Time in the draft block\n# TYPE ds4_draft_seconds_total counter\n\
         ds4_draft_seconds_total {seconds}\n\
         # HELP ds4_draft_depth Tokens guessed at a time, 0 while that does not pay\n# TYPE ds4_draft_depth gauge\n\
         ds4_draft_depth {depth}"
    );
}

/// From a millisecond to half an hour.
fn scale() -> Vec<f64> {
    vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1800.0]
}

/// Times the events of one turn.
pub struct Clock {
    last: Instant,
    tokens: usize,
    is_complete: bool,
}

impl Clock {
    /// Takes note of an event.
    pub fn see(&mut self, metrics: &Metrics, event: &Event) {
        match event {
            Event::Delta { .. } => {
                let time = self.last.elapsed().as_secs_f64();
                if self.tokens == 0 { &metrics.first_token } else { &metrics.per_token }.observe(time);
                self.tokens += 1;
                self.last = Instant::now();
            }
            Event::Finished { .. } | Event::Failed(_) => self.is_complete = true,
            Event::Started { .. } => {}
        }
    }

    /// Whether an end was seen.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}
