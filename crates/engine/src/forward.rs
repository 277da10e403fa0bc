//! The forward pass: the one place that knows the order of operations (`spec/model.md` §4 to §11).

use crate::backend::{Backend, Collapse, Expand, Join, JoinScratch, Prepare, Step};
use crate::config::{Config, LayerKind, STREAMS};
use crate::error::Result;
use crate::rope::Rope;
use crate::steering::{Site, Steered};
use crate::weights::{HcSite, Layer, MtpWeights, Weights};

/// Rows whose logits are computed together: bounds the logits buffer to 64 vocabularies.
pub(crate) const HEADS_AT_ONCE: usize = 64;

/// Rotary tables of the two families of layers.
pub(crate) struct Ropes {
    sliding: Rope,
    compressed: Rope,
}

impl Ropes {
    pub(crate) fn new(config: &Config) -> Self {
        Self { sliding: Rope::new(config, LayerKind::Sliding), compressed: Rope::new(config, LayerKind::Csa) }
    }

    fn families(&self) -> [&Rope; 2] {
        [&self.sliding, &self.compressed]
    }

    fn of(&self, kind: LayerKind) -> &Rope {
        match kind {
            LayerKind::Sliding => &self.sliding,
            LayerKind::Csa | LayerKind::Hca => &self.compressed,
        }
    }
}

/// What goes from one hyper-connection site to the next: streams, `post` and `C`, and the normed collapse.
struct Carried<B: Backend> {
    x: B::Buffer,
    mix: B::Buffer,
    h: B::Buffer,
}

impl<B: Backend> Carried<B> {
    /// At the site in front of a part, `norm` behind it.
    fn collapse<'a>(&'a mut self, site: &'a HcSite<B>, norm: &'a B::Vector) -> Collapse<'a, B> {
        Collapse { site, norm, x: &mut self.x, mix: &mut self.mix, h: &mut self.h }
    }

    /// Behind a part, in front of `next`.
    fn expand<'a>(&'a mut self, next: Option<&'a HcSite<B>>) -> Expand<'a, B> {
        Expand { mix: &self.mix, x: &mut self.x, next }
    }
}

/// Buffers of a step, allocated once for the largest one. Names are the spec's.
pub(crate) struct Workspace<B: Backend> {
    /// Rows whose logits are computed at once.
    heads: usize,
    carried: Carried<B>,
    y: B::Buffer,
    qr: B::Buffer,
    q: B::Buffer,
    kv: B::Buffer,
    low: B::Buffer,
    /// Compressor projections, one set a distinct width.
    comp: [(B::Buffer, B::Buffer); 2],
    index: (B::Buffer, B::Buffer),
    iq: B::Buffer,
    iw: B::Buffer,
    z: B::Buffer,
    e: B::Buffer,
    logits: B::Buffer,
    routes: B::Routes,
    selection: B::Selection,
    /// Layer outputs that are asked for, of the last row; `E` values a layer.
    outputs: Option<(Site, Vec<f32>)>,
}

impl<B: Backend> Workspace<B> {
    /// Buffers for `rows` rows, `the logits of which come `heads` at a time.
    pub(crate) fn new(backend: &B, c: &Config, rows: usize, heads: usize) -> Result<Self> {
        let buffer = |width: usize| backend.buffer(rows, width);
        let pair = |width: usize| Ok::<_, crate::Error>((buffer(width)?, buffer(width)?));
        Ok(Self {
            heads,
            carried: Carried {
                x: buffer(c.stream_width())?,
                mix: buffer(STREAMS + STREAMS * STREAMS)?,
                h: buffer(c.embd)?,
            },
            y: buffer(c.embd)?,
            qr: buffer(c.q_rank)?,
            q: buffer(c.heads * c.head_dim)?,
            kv: buffer(c.head_dim)?,
            low: buffer(c.groups * c.o_rank)?,
            comp: [pair(2 * c.head_dim)?, pair(c.head_dim)?],
            index: pair(2 * c.index_dim)?,
            iq: buffer(c.index_heads * c.index_dim)?,
            iw: buffer(c.index_heads)?,
            z: buffer(c.experts)?,
            e: backend.buffer(heads, c.embd)?,
            logits: backend.buffer(heads, c.vocab)?,
            routes: B::Routes::default(),
            selection: B::Selection::default(),
            outputs: None,
        })
    }

    /// Lets the next pass keep what each layer's `site` yields for the last row.
    pub(crate) fn keep_outputs(&mut self, site: Site) {
        self.outputs = Some((site, Vec::new()));
    }

    /// What was kept, one layer after the other.
    pub(crate) fn take_outputs(&mut self) -> Vec<f32> {
        self.outputs.take().map(|(_, outputs)| outputs).unwrap_or_default()
    }
}

impl<B: Backend> Workspace<B> {
    /// The streams that the last pass left, a row for each of its own.
    pub(crate) fn streams(&self) -> &B::Buffer {
        &self.carried.x
    }
}

/// Bytes of the buffers of a step of `rows` rows, f32 each, with the intermediate values of the experts: an estimate, since
/// backends add scratch memory of their own. Bounded by the largest number.
pub fn step_bytes(c: &Config, rows: usize) -> u64 {
    let streams = c.stream_width() + STREAMS + STREAMS * STREAMS + 2 * c.embd;
    let attention = c.q_rank + c.heads * c.head_dim + c.head_dim + c.groups * c.o_rank;
    let compressors = 2 * (2 * c.head_dim) + 2 * c.head_dim + 2 * (2 * c.index_dim);
    let indexer = c.index_heads * c.index_dim + c.index_heads;
    // Gate, up and output of each routed expert and the shared one.
    let experts = c.experts + (c.experts_used + 1) * (2 * c.expert_ff + c.embd);
    let row = (streams + attention + compressors + indexer + experts) as u64;
    let head = (c.embd + c.vocab) as u64;
    let values = (rows as u64).saturating_mul(row).saturating_add(rows.min(HEADS_AT_ONCE) as u64 * head);
    values.saturating_mul(size_of::<f32>() as u64)
}

/// Bytes of the buffers with which the draft block works, for steps of `rows` rows: streams not seen yet, streams to go on from, and
/// what joins them with tokens.
pub fn draft_step_bytes(c: &Config, rows: usize) -> u64 {
    let values = (2 * STREAMS + 2 * (1 + STREAMS)) * c.embd;
    (rows.min(c.window) as u64).saturating_mul((values * size_of::<f32>()) as u64)
}

/// Bytes of the streams that a sequence keeps for the draft block.
pub fn draft_sequence_bytes(c: &Config) -> u64 {
    (c.window as u64).saturating_mul((c.stream_width() * size_of::<f32>()) as u64)
}

/// Everything that a pass reads besides its buffers.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) weights: &'a Weights<B>,
    pub(crate) ropes: &'a Ropes,
    pub(crate) steering: Option<&'a Steered<B>>,
    pub(crate) step: Step<'a>,
}

impl<B: Backend> Pass<'_, B> {
    /// Runs all layers over the step's rows and returns the logits of rows `wanted`, one after the other.
    ///
    /// Between layers `stop` may end the pass; the caches are then unusable.
    pub(crate) fn run(
        &self,
        ws: &mut Workspace<B>,
        caches: &mut [&mut B::Cache],
        wanted: &[usize],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<f32>> {
        let (b, step, layers) = (self.backend, &self.step, &self.weights.layers);
        b.begin(step, self.ropes.families(), caches)?;
        b.embed(step, &self.weights.embd, &mut ws.carried.x)?;
        for (il, layer) in layers.iter().enumerate() {
            if stop() {
                return Err(crate::Error::Interrupted);
            }
            self.layer(il, layer, layers.get(il + 1), ws, caches)?;
        }
        let mut logits = Vec::new();
        self.heads(ws, wanted, &self.weights.hc_head, &self.weights.norm, |some, rows| {
            let some = b.read(some, rows)?;
            // Usually that is all: megabytes that need not move again.
            if logits.is_empty() {
                logits = some;
            } else {
                logits.extend(some);
            }
            Ok(())
        })?;
        Ok(logits)
    }

    /// §12: the draft block.
    pub(crate) fn run_draft_block(
        &self,
        w: &MtpWeights<B>,
        join: Join<'_, B>,
        scratch: &mut JoinScratch<B>,
        ws: &mut Workspace<B>,
        caches: &mut [&mut B::Cache],
    ) -> Result<()> {
        let (b, step, layer) = (self.backend, &self.step, &w.layer);
        b.begin(step, self.ropes.families(), caches)?;
        b.join(step, join, scratch, &mut ws.carried.x)?;
        self.layer(0, layer, None, ws, caches)
    }

    /// §12: the block's most probable token of rows `wanted`, to the places from `at` on.
    pub(crate) fn guess(
        &self,
        w: &MtpWeights<B>,
        ws: &mut Workspace<B>,
        wanted: &[usize],
        to: &mut B::Tokens,
        mut at: usize,
    ) -> Result<()> {
        self.heads(ws, wanted, &w.hc_head, &w.norm, |logits, rows| {
            self.backend.choose(rows, logits, to, at)?;
            at += rows;
            Ok(())
        })
    }

    /// `X ← expand(attn(rmsnorm(collapse(X))))`, then the same with the feed-forward part; `next` is the layer behind.
    fn layer(
        &self,
        il: usize,
        layer: &Layer<B>,
        next: Option<&Layer<B>>,
        ws: &mut Workspace<B>,
        caches: &mut [&mut B::Cache],
    ) -> Result<()> {
        let (b, step, ffn) = (self.backend, &self.step, &layer.ffn);
        self.attention(il, layer, ws, caches)?;
        let (out_b, expand) = (&layer.attn.out_b, ws.carried.expand(Some(&layer.hc_ffn)));
        if self.needs_output(il, Site::Attention, &ws.outputs) {
            b.project(step.rows(), &ws.low, &mut [(out_b, &mut ws.y)])?;
            self.finish_output(il, Site::Attention, &mut ws.y, &mut ws.outputs)?;
            b.hc_expand(step, &ws.y, expand)?;
        } else {
            b.project_expand(step, out_b, &ws.low, &mut ws.y, expand)?;
        }
        let collapse = ws.carried.collapse(&layer.hc_ffn, &ffn.norm);
        let next = next.map(|next| &next.hc_attn);
        let (z, routes, y) = (&mut ws.z, &mut ws.routes, &mut ws.y);
        if !self.needs_output(il, Site::FeedForward, &ws.outputs) {
            return b.collapse_feed_forward_expand(step, il, ffn, collapse, z, routes, y, next);
        }
        b.collapse_feed_forward(step, il, ffn, collapse, z, routes, y)?;
        self.finish_output(il, Site::FeedForward, y, &mut ws.outputs)?;
        b.hc_expand(step, y, ws.carried.expand(next))
    }

    /// Whether something happens to the output `y` before it is expanded ([`finish_output`](Self::finish_output)).
    fn needs_output(&self, il: usize, site: Site, outputs: &Option<(Site, Vec<f32>)>) -> bool {
        let is_kept = outputs.as_ref().is_some_and(|(wanted, _)| *wanted == site);
        is_kept || self.steering.is_some_and(|steering| steering.at(il, site).is_some())
    }

    /// Keeps the output `y` if that is wanted, and steers it.
    fn finish_output(
        &self,
        il: usize,
        site: Site,
        y: &mut B::Buffer,
        outputs: &mut Option<(Site, Vec<f32>)>,
    ) -> Result<()> {
        let rows = self.step.rows();
        if let Some((wanted, outputs)) = outputs
            && *wanted == site
        {
            outputs.extend(self.backend.read_rows(y, rows - 1..rows)?);
        }
        match self.steering.and_then(|steering| steering.at(il, site)) {
            Some((direction, scale)) => self.backend.steer(rows, direction, scale, y),
            None => Ok(()),
        }
    }

    /// §5 to §9: attention to the collapsed streams but for its last product, that of `low` with `out_b`.
    fn attention(
        &self,
        il: usize,
        layer: &Layer<B>,
        ws: &mut Workspace<B>,
        caches: &mut [&mut B::Cache],
    ) -> Result<()> {
        let (b, step, rows) = (self.backend, &self.step, self.step.rows());
        let (kind, w) = (layer.kind, &layer.attn);
        let rope = self.ropes.of(kind);
        let (comp_k, comp_g) = &mut ws.comp[usize::from(kind == LayerKind::Hca)];
        let (index_k, index_g) = &mut ws.index;

        // Everything that is projected from h, together.
        let mut from_h = vec![(&w.q_a, &mut ws.qr), (&w.kv, &mut ws.kv)];
        if let Some(c) = &w.compressor {
            from_h.extend([(&c.kv, &mut *comp_k), (&c.gate, &mut *comp_g)]);
        }
        let select = w.indexer.as_ref().filter(|_| self.sees_more_than_top_k());
        if let Some(i) = &w.indexer {
            from_h.extend([(&i.compressor.kv, &mut *index_k), (&i.compressor.gate, &mut *index_g)]);
        }
        if let Some(i) = select {
            from_h.push((&i.weight, &mut ws.iw));
        }
        b.collapse_project(step, ws.carried.collapse(&layer.hc_attn, &w.norm), &w.q_a_norm, &mut from_h)?;

        let mut from_qr = vec![(&w.q_b, &mut ws.q)];
        if let Some(i) = select {
            from_qr.push((&i.q_b, &mut ws.iq));
        }
        b.norm_project(step, &w.q_a_norm, &mut ws.qr, &mut from_qr)?;

        let prepare = Prepare {
            rope,
            q: &mut ws.q,
            kv: &mut ws.kv,
            kv_norm: &w.kv_norm,
            compressor: w.compressor.as_ref().map(|c| (c, &*comp_k, &mut *comp_g)),
            index: w.indexer.as_ref().map(|i| (&i.compressor, &*index_k, &mut *index_g)),
            index_q: select.is_some().then_some(&mut ws.iq),
        };
        b.prepare(step, il, prepare, caches)?;
        if select.is_some() {
            b.index_select(step, il, &ws.iq, &ws.iw, caches, &mut ws.selection)?;
        }
        let selection = select.is_some().then_some(&ws.selection);
        b.attend(step, il, w, rope, &mut ws.q, &ws.kv, selection, caches)?;

        b.project_grouped(rows, step.config.groups, &w.out_a, &ws.q, &mut ws.low)
    }

    /// Whether some row sees more ratio-4 rows than the indexer keeps; otherwise all are attended (§8).
    fn sees_more_than_top_k(&self) -> bool {
        let last = self.step.positions.iter().max().copied().unwrap_or(0);
        (last + 1) / 4 > self.step.config.top_k
    }

    /// §11, for the rows that want logits, as many at a time as there is room for: `take` gets them and how many rows they are.
    fn heads(
        &self,
        ws: &mut Workspace<B>,
        wanted: &[usize],
        site: &HcSite<B>,
        norm: &B::Vector,
        mut take: impl FnMut(&B::Buffer, usize) -> Result<()>,
    ) -> Result<()> {
        let (b, w) = (self.backend, self.weights);
        for rows in wanted.chunks(ws.heads) {
            b.head(&self.step, rows, site, norm, &ws.carried.x, &mut ws.e)?;
            b.project(rows.len(), &ws.e, &mut [(&w.output, &mut ws.logits)])?;
            take(&ws.logits, rows.len())?;
        }
        Ok(())
    }
}
