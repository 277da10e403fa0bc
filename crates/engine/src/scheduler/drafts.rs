//! Drafts in the scheduler: further rows of the sequences that decode.

use super::{Active, End, Scheduler};
use crate::backend::Backend;
use crate::kv::{DRAFTS_MAX, PAGE_TOKENS};
use crate::speculation;
use crate::{Result, Wish};
use std::time::Instant;

impl<B: Backend> Active<B> {
    /// Most tokens worth drafting: no more than the answer may have, and none across the end of a page, where the state may be kept.
    fn drafts_most(&self, context: usize) -> usize {
        let with_next = self.sequence.len() + 1;
        let end = self.most.min(context).min(with_next.next_multiple_of(PAGE_TOKENS));
        end.saturating_sub(with_next)
    }
}

impl<B: Backend + 'static> Scheduler<B> {
    /// Guesses what follows the sequences that decode.
    pub(super) fn draft(&mut self) -> Result<()> {
        let Some(speculation) = &mut self.speculation else { return Ok(()) };
        let decoding = self.active.iter().filter(|active| active.next.is_some()).count();
        if decoding == 0 {
            return Ok(());
        }
        let room = self.engine.chunk().saturating_sub(decoding) / decoding;
        let depth = speculation.depth(decoding).min(room);
        if depth == 0 {
            return Ok(());
        }
        let (context, begin) = (self.engine.context(), Instant::now());
        let (mut wishes, mut drafts) = (Vec::with_capacity(decoding), Vec::with_capacity(decoding));
        for active in &mut self.active {
            let Some(next) = active.next else { continue };
            let depth = depth.min(active.drafts_most(context));
            wishes.push(Wish { sequence: &mut active.sequence, next, depth });
            drafts.push(&mut active.drafts);
        }
        let passes = wishes.iter().map(|wish| wish.depth).max().unwrap_or(0);
        let has_caught_up = wishes.iter().any(|wish| wish.sequence.undrafted() > DRAFTS_MAX + 1);
        let drafted = self.engine.draft(&mut wishes)?;
        drafts.into_iter().zip(drafted).for_each(|(to, drafted)| *to = drafted);
        speculation.drafted(passes, begin.elapsed().as_secs_f64(), has_caught_up);
        Ok(())
    }

    /// Lets the follower of a sequence that decodes choose from the logits of its rows, as far as it chooses what was drafted. The rest is
    /// taken back.
    pub(super) fn judge(&mut self, mut active: Active<B>, rows: Vec<&mut [f32]>) {
        let Some(mut follower) = active.followers.pop() else { return };
        // The first is what came before the drafts.
        let evaluated = std::mem::take(&mut active.drafts);
        let drafts = evaluated.get(1..).unwrap_or_default();
        let (next, accepted) = speculation::choose(&mut *follower, rows, drafts);
        active.next = next;
        let tokens = active.sequence.len() - drafts.len() + accepted;
        if let Some(speculation) = &mut self.speculation {
            speculation.judged(drafts.len(), accepted);
        }
        self.stats.decode_tokens += 1 + accepted as u64;
        if let Err(error) = self.engine.take_back(&mut active.sequence, tokens) {
            return follower.ended(End::Failed(error.to_string()));
        }
        self.keep(&mut active, false);
        self.go_on(active, follower);
    }
}
