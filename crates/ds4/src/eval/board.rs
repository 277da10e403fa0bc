//! A run on a whole terminal: all questions with their state at the left, what is said to the chosen one at the right.

use super::report::{Done, State, count};
use super::show::{Show, Wish};
use super::suite::Case;
use crate::interrupt::Interrupt;
use crate::output;
use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, LineGauge, List, ListState, Paragraph};
use ratatui::{DefaultTerminal, Frame};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Least time between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// Most time between two pictures: there is a clock on them.
const FRAME_MAX: Duration = Duration::from_secs(1);
/// Smallest terminal that is worth it, in columns and rows.
const ROOM_MIN: (u16, u16) = (40, 8);
/// Bytes of a text whose end is shown: more than any terminal holds.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Lines that Page Up and Page Down move by.
const PAGE: usize = 10;
const KEYS: &str = "↑ ↓ choose   Enter ask it next   p pause   q stop";

/// The terminal, taken until this is dropped.
pub struct Board<'a> {
    terminal: DefaultTerminal,
    view: View,
    interrupt: &'a Interrupt,
    drawn: Instant,
    /// There is something that was not drawn yet.
    has_changed: bool,
}

impl<'a> Board<'a> {
    /// Whether somebody sits at a terminal that is large enough.
    pub fn has_room() -> bool {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        let fits = |(width, height)| width >= ROOM_MIN.0 && height >= ROOM_MIN.1;
        is_terminal && !is_dumb && ratatui::crossterm::terminal::size().is_ok_and(fits)
    }

    /// Takes the terminal. `all` says how `cases` stand.
    pub fn open(model: String, cases: &[Case], all: &[Done], interrupt: &'a Interrupt) -> Result<Self> {
        let mut view = View::new(model, cases, all);
        view.colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = ratatui::try_init().context("cannot take the terminal; --plain does without")?;
        Ok(Self { terminal, view, interrupt, drawn: Instant::now(), has_changed: true })
    }

    fn draw(&mut self) -> Result<()> {
        self.terminal.draw(|frame| self.view.draw(frame)).context("cannot write to the terminal")?;
        (self.drawn, self.has_changed) = (Instant::now(), false);
        Ok(())
    }
}

impl Drop for Board<'_> {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Show for Board<'_> {
    fn begin(&mut self, index: usize) -> Result<()> {
        self.view.begin(index);
        self.draw()
    }

    fn reading(&mut self, done: usize, total: usize) -> Result<()> {
        self.has_changed |= self.view.reading.replace((done, total)) != Some((done, total));
        Ok(())
    }

    fn reasoning(&mut self, text: &str) -> Result<()> {
        self.view.reading = None;
        self.view.reasoning += text;
        self.has_changed = true;
        Ok(())
    }

    fn answer(&mut self, text: &str) -> Result<()> {
        self.view.reading = None;
        self.view.answer += text;
        self.has_changed = true;
        Ok(())
    }

    fn end(&mut self, index: usize, done: &Done) -> Result<()> {
        self.view.end(index, done);
        self.draw()
    }

    fn wish(&mut self) -> Result<Wish> {
        let reading = "cannot read keys";
        while event::poll(Duration::ZERO).context(reading)? {
            let event = event::read().context(reading)?;
            self.has_changed = true;
            if let Event::Key(key) = event
                && key.kind != KeyEventKind::Release
            {
                if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
                    self.interrupt.request();
                }
                match self.view.press(key) {
                    Wish::Go | Wish::Pause => {}
                    wish => return Ok(wish),
                }
            }
        }
        if self.drawn.elapsed() >= if self.has_changed { FRAME } else { FRAME_MAX } {
            self.draw()?;
        }
        Ok(if self.view.is_paused { Wish::Pause } else { Wish::Go })
    }
}

/// A question.
struct Row {
    id: String,
    question: String,
    done: Done,
}

/// What is shown, without a terminal.
struct View {
    model: String,
    rows: Vec<Row>,
    /// The question that is asked.
    running: Option<usize>,
    /// Tokens of its prompt that are read, and all of them, until it is answered.
    reading: Option<(usize, usize)>,
    reasoning: String,
    answer: String,
    /// The chosen row, and the first visible one.
    list: ListState,
    /// The chosen row is the one that is asked.
    follows: bool,
    is_paused: bool,
    colours: bool,
    begin: Instant,
}

impl View {
    fn new(model: String, cases: &[Case], all: &[Done]) -> Self {
        let row = |(case, done): (&Case, &Done)| Row {
            id: output::printable(&case.id),
            question: case.question.clone(),
            done: done.clone(),
        };
        Self {
            model: output::printable(&model),
            rows: cases.iter().zip(all).map(row).collect(),
            running: None,
            reading: None,
            reasoning: String::new(),
            answer: String::new(),
            list: ListState::default().with_selected(Some(0)),
            follows: true,
            is_paused: false,
            colours: true,
            begin: Instant::now(),
        }
    }

    fn begin(&mut self, index: usize) {
        self.running = Some(index);
        self.reading = None;
        self.reasoning.clear();
        self.answer.clear();
        if self.follows {
            self.list.select(Some(index));
        }
    }

    fn end(&mut self, index: usize, done: &Done) {
        self.rows[index].done = done.clone();
        self.running = None;
    }

    fn press(&mut self, key: KeyEvent) -> Wish {
        let last = self.rows.len().saturating_sub(1);
        let chosen = self.list.selected().unwrap_or(0);
        let to = match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Wish::Stop,
            KeyCode::Char('q') => return Wish::Stop,
            KeyCode::Char('p') => {
                self.is_paused = !self.is_paused;
                return Wish::Go;
            }
            KeyCode::Enter => {
                let is_pending = self.rows.get(chosen).is_some_and(|row| row.done.state == State::Pending);
                if !is_pending || self.running == Some(chosen) {
                    return Wish::Go;
                }
                (self.follows, self.is_paused) = (true, false);
                return Wish::Ask(chosen);
            }
            KeyCode::Up => chosen.saturating_sub(1),
            KeyCode::Down => (chosen + 1).min(last),
            KeyCode::PageUp => chosen.saturating_sub(PAGE),
            KeyCode::PageDown => (chosen + PAGE).min(last),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return Wish::Go,
        };
        self.list.select(Some(to));
        self.follows = self.running == Some(to);
        Wish::Go
    }

    fn colour(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [title, gauge, middle, keys] = Layout::vertical(rows).areas(frame.area());
        let columns = [Constraint::Percentage(45), Constraint::Min(1)];
        let [left, right] = Layout::horizontal(columns).areas(middle);
        let all = || self.rows.iter().map(|row| &row.done);
        let of = |state| count(all(), state);
        let (passed, failed, skipped) = (of(State::Passed), of(State::Failed), of(State::Skipped));
        let seconds = self.begin.elapsed().as_secs();
        let paused = if self.is_paused { "   PAUSED" } else { "" };
        let clock = format!("   {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let line = Line::from(vec![
            Span::styled(format!("ds4 eval   {}", self.model), Modifier::BOLD),
            Span::raw(clock),
            Span::styled(paused, Modifier::BOLD),
        ]);
        frame.render_widget(line, title);
        let asked = passed + failed;
        let share = (100 * passed).checked_div(asked).map_or(String::new(), |share| format!(" ({share} %)"));
        let ended = asked + skipped;
        let label =
            format!("{ended} of {}   passed {passed}{share}, failed {failed}, skipped {skipped} ", self.rows.len());
        let bar = LineGauge::default()
            .ratio(ended as f64 / self.rows.len().max(1) as f64)
            .filled_style(self.colour(Color::Green))
            .label(label);
        frame.render_widget(bar, gauge);
        let lines: Vec<Line<'_>> = (0..self.rows.len()).map(|index| self.row(index)).collect();
        let list = List::new(lines).highlight_style(Modifier::REVERSED);
        frame.render_stateful_widget(list, left, &mut self.list);
        self.draw_chosen(frame, right);
        frame.render_widget(Line::styled(KEYS, self.colour(Color::DarkGray)), keys);
    }

    /// One question in the list.
    fn row(&self, index: usize) -> Line<'static> {
        let row = &self.rows[index];
        let (state, colour) = match (row.done.state, self.running == Some(index), self.reading) {
            (State::Pending, true, Some((done, total))) => {
                (format!("READ {:>2}%", (100 * done / total.max(1)).min(99)), Color::Cyan)
            }
            (State::Pending, true, None) => ("RUNNING".to_owned(), Color::Cyan),
            (State::Pending, false, _) => ("PENDING".to_owned(), Color::DarkGray),
            (State::Passed, ..) => ("PASSED".to_owned(), Color::Green),
            (State::Failed, ..) => ("FAILED".to_owned(), Color::Red),
            (State::Skipped, ..) => ("SKIPPED".to_owned(), Color::Yellow),
        };
        let got = output::printable(&row.done.got);
        Line::from(vec![
            Span::raw(format!("{:>3} ", index + 1)),
            Span::styled(format!("{state:<9}"), self.colour(colour)),
            Span::raw(format!("{:<16} {got}", row.id)),
        ])
    }

    /// Question and answer of the chosen row, the end of it if there is too much.
    fn draw_chosen(&self, frame: &mut Frame<'_>, area: Rect) {
        let chosen = self.list.selected().unwrap_or(0);
        let Some(row) = self.rows.get(chosen) else { return };
        let block = Block::bordered().title(format!(" {} ", row.id));
        let inside = block.inner(area);
        frame.render_widget(block, area);
        let is_running = self.running == Some(chosen);
        let (reasoning, answer) = match is_running {
            true => (&self.reasoning, &self.answer),
            false => (&row.done.reasoning, &row.done.answer),
        };
        let verdict = match row.done.state {
            State::Pending => String::new(),
            _ => row.done.verdict(),
        };
        let grey = self.colour(Color::DarkGray);
        let parts = [
            (row.question.as_str(), Style::new().add_modifier(Modifier::BOLD)),
            (reasoning.trim_end(), grey),
            (answer.trim_end(), Style::new()),
            (verdict.as_str(), Style::new().add_modifier(Modifier::BOLD)),
        ];
        let width = usize::from(inside.width.max(1));
        let mut lines: Vec<Line<'_>> = Vec::new();
        for (text, style) in parts.into_iter().filter(|(text, _)| !text.is_empty()) {
            if !lines.is_empty() {
                lines.push(Line::default());
            }
            lines.extend(wrapped(end_of(text), width).into_iter().map(|line| Line::styled(line, style)));
        }
        let hidden = lines.len().saturating_sub(usize::from(inside.height));
        frame.render_widget(Paragraph::new(lines.split_off(hidden)), inside);
    }
}

/// The last [`TEXT_BYTES_MAX`] bytes of `text`, or a few less.
fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(TEXT_BYTES_MAX);
    (from..=text.len()).find_map(|from| text.get(from..)).unwrap_or_default()
}

/// `text` in lines of at most `width` columns, broken at spaces where there are any, without characters that a terminal would obey.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for source in text.lines() {
        let (mut line, mut columns, mut space) = (String::new(), 0, None);
        for c in source.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()) {
            let more = Span::raw(&*c.encode_utf8(&mut [0; 4])).width();
            if columns + more > width {
                let rest = match space.take() {
                    Some(at) => line.split_off(at),
                    None => String::new(),
                };
                lines.push(std::mem::replace(&mut line, rest));
                columns = Span::raw(line.as_str()).width();
            }
            line.push(c);
            columns += more;
            if c == ' ' {
                space = Some(line.len());
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// The rows of a terminal of that size.
    fn picture(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells.chunks(usize::from(width)).map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    fn view() -> View {
        let cases = suite::load(None).unwrap();
        let all: Vec<Done> = cases.iter().map(Done::pending).collect();
        View::new("the demo model".to_owned(), &cases, &all)
    }

    fn press(view: &mut View, code: KeyCode) -> Wish {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn a_run_is_shown_as_it_goes() {
        let mut view = view();
        view.begin(0);
        view.reading = Some((30, 120));
        let rows = picture(&mut view, 100, 20);
        assert!(rows[0].starts_with("ds4 eval   the demo model   00:00:0"), "{rows:?}");
        assert!(rows[1].starts_with("0 of 62   passed 0, failed 0, skipped 0"), "{rows:?}");
        assert!(rows[2].starts_with("  1 READ 25% arithmetic-01"), "{rows:?}");
        assert!(rows[3].starts_with("  2 PENDING  arithmetic-02"), "{rows:?}");
        assert!(rows[19].starts_with(KEYS), "{rows:?}");

        view.reading = None;
        view.reasoning = "Let me see.".to_owned();
        view.answer = "Answer: \u{1b}[2J6155".to_owned();
        let rows = picture(&mut view, 100, 20).join("\n");
        for part in ["RUNNING  arithmetic-01", "What is 4,817", "Let me see.", "Answer: [2J6155"] {
            assert!(rows.contains(part), "{part:?} is not in {rows}");
        }

        let done = |row: &Row, state, got: &str| Done { state, got: got.to_owned(), tokens: 9, ..row.done.clone() };
        let (right, wrong) = (done(&view.rows[0], State::Passed, "6155"), done(&view.rows[1], State::Failed, "7"));
        view.end(0, &right);
        view.begin(1);
        view.end(1, &wrong);
        let rows = picture(&mut view, 100, 20);
        assert!(rows[1].starts_with("2 of 62   passed 1 (50 %), failed 1, skipped 0"), "{rows:?}");
        assert!(rows[2].starts_with("  1 PASSED   arithmetic-01    6155"), "{rows:?}");
        assert!(rows[3].starts_with("  2 FAILED   arithmetic-02    7"), "{rows:?}");
        assert!(rows.join("").contains("FAILED got \"7\""), "{rows:?}");
    }

    #[test]
    fn keys_choose_ask_pause_and_stop() {
        let mut view = view();
        view.begin(0);
        assert_eq!(press(&mut view, KeyCode::Enter), Wish::Go, "it is asked already");
        assert_eq!(press(&mut view, KeyCode::End), Wish::Go);
        let rows = picture(&mut view, 100, 12).join("\n");
        assert!(rows.contains(" 62 PENDING"), "the list follows: {rows}");
        view.begin(1);
        assert_eq!(view.list.selected(), Some(61), "a choice is kept while others are asked");
        assert_eq!(press(&mut view, KeyCode::Char('p')), Wish::Go);
        assert!(view.is_paused && picture(&mut view, 100, 12)[0].contains("PAUSED"));
        assert_eq!(press(&mut view, KeyCode::Enter), Wish::Ask(61));
        assert!(!view.is_paused);
        view.begin(61);
        assert_eq!(press(&mut view, KeyCode::Up), Wish::Go);
        assert_eq!((view.list.selected(), view.follows), (Some(60), false));
        assert_eq!(press(&mut view, KeyCode::Char('q')), Wish::Stop);
        assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Stop);
    }

    #[test]
    fn no_size_is_too_small_to_draw() {
        let mut view = view();
        view.begin(0);
        view.answer = "x ".repeat(500);
        for (width, height) in [(1, 1), (2, 3), (5, 4), (40, 8), (300, 100)] {
            assert_eq!(picture(&mut view, width, height).len(), usize::from(height));
        }
    }

    #[test]
    fn lines_break_at_spaces_and_fit() {
        assert_eq!(wrapped("the quick brown fox", 10), ["the quick ", "brown fox"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("漢字漢", 4), ["漢字", "漢"]);
        assert_eq!(wrapped("a\n\nb\tc\u{1b}", 9), ["a", "", "b c"]);
        assert_eq!(end_of(&"é".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }
}
