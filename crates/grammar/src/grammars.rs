use crate::block::Grammar;
use crate::constraint::{Line, Phase};
use crate::schema::{Budget, Resolver, Strictness};
use crate::vocabulary::Vocabulary;
use crate::{Constraint, Error, Format, Spec, Tool, ToolChoice};
use ds4_tokenizer::{Tokenizer, markers};
use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use toktrie::InferenceCapabilities;

/// Stack of the thread that compiles, in bytes of address space: the library recurses over properties and nesting.
const STACK_BYTES: usize = 64 << 20;

/// White space at one place of a JSON text: one space, or a line break with at most 64 characters of indentation.
const WHITE_SPACE: &str = r" |\r?\n[ \t]{0,64}";

/// Sets of tokens whose masks are prepared, smallest first: text inside JSON strings, all text.
const SLICES: [&str; 4] =
    [r"[\x20\x0A\x0D\x09]+", r#"[^"\\\x00-\x1F\x7F]{1,30}"#, r#"[^"\\\x00-\x1F\x7F]+"#, r"(?s:.+)"];

/// Compiles constraints for one tokenizer. Share it.
pub struct Grammars {
    vocabulary: Arc<Vocabulary>,
    factory: ParserFactory,
}

impl Grammars {
    /// Prepares the vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Vocabulary`] if the library cannot work with it.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, Error> {
        let vocabulary = Arc::new(Vocabulary::new(tokenizer));
        let slices = SLICES.map(str::to_owned);
        let build = || {
            let mut factory = ParserFactory::new(&vocabulary.environment(), InferenceCapabilities::default(), &slices)?;
            factory.quiet();
            *factory.limits_mut() = limits();
            Ok(factory)
        };
        let factory = panic_utils::catch_unwind(AssertUnwindSafe(build));
        let reason = |error: &dyn std::fmt::Display| error.to_string().lines().next().unwrap_or_default().to_owned();
        let factory = factory.map_err(|error| Error::Vocabulary { reason: reason(&error) })?;
        Ok(Self { vocabulary, factory })
    }

    /// The constraint of one answer.
    ///
    /// # Errors
    ///
    /// The request names a tool that it lacks, a schema is invalid, recursive, beyond a limit or uses
    /// what cannot be enforced, or the vocabulary lacks a control token that the answer needs.
    pub fn compile(&self, spec: &Spec) -> Result<Constraint, Error> {
        let token = |id: Option<u32>, marker| id.ok_or(Error::MissingToken { marker });
        if spec.thinking {
            token(self.vocabulary.think_end(), markers::THINK_END)?;
        }
        let tools = offered(spec)?;
        let demanded = matches!(spec.choice, ToolChoice::Required | ToolChoice::Named(_));
        let mut grammar = Grammar::new();
        let mut budget = Budget::new();
        let mut starts = Vec::new();
        let is_free = spec.format == Format::Text && !demanded;
        if !tools.is_empty() {
            let dsml = token(self.vocabulary.dsml(), markers::DSML)?;
            grammar.calls(&tools, spec.parallel, dsml, &mut budget)?;
            starts.push(if is_free { "calls" } else { r#""\n\n<" calls"# });
        }
        let schema = match &spec.format {
            _ if demanded => None,
            Format::Text => None,
            Format::JsonObject => Some(json!({"type": "object"})),
            Format::JsonSchema(schema) => Some(Resolver::new(schema, Strictness::Strict, &mut budget).document()?),
        };
        let json = schema.map(|schema| grammar.schema(schema, Strictness::Strict)).transpose()?;
        if let Some(name) = &json {
            grammar.rule("json", &format!("/[ \\n]{{1,2}}/? {name}"));
            starts.push("json");
        }
        let matcher = match starts.is_empty() {
            true => None,
            false => {
                grammar.rule("start", &starts.join(" | "));
                Some(self.matcher(grammar)?)
            }
        };
        let content = if is_free { Phase::Free(Line::Empty) } else { Phase::Grammar };
        Ok(Constraint {
            vocabulary: Arc::clone(&self.vocabulary),
            phase: if spec.thinking { Phase::Reasoning } else { content },
            content,
            matcher,
            ends_in_reasoning: is_free,
            closing: None,
            last_byte: 0,
        })
    }

    /// Compiles on a thread with a large stack.
    fn matcher(&self, grammar: Grammar) -> Result<Matcher, Error> {
        let main =
            GrammarWithLexer { name: Some("main".to_owned()), lark_grammar: Some(grammar.text), json_schema: None };
        let mut grammars = vec![main];
        for (index, (schema, strictness)) in grammar.schemas.into_iter().enumerate() {
            let name = format!("j{index}");
            let json_schema = Some(with_options(schema, strictness == Strictness::Lenient));
            grammars.push(GrammarWithLexer { name: Some(name), json_schema, lark_grammar: None });
        }
        let top = TopLevelGrammar { grammars, max_tokens: None };
        let compile = || {
            let mut matcher = Matcher::new(self.factory.create_parser(top));
            match matcher.get_error() {
                Some(error) => Err(Error::of_library(&error)),
                // An unsatisfiable grammar shows here at the latest.
                None => matcher
                    .compute_mask_or_eos()
                    .map_err(|error| Error::of_library(&error.to_string()))
                    .map(|_| matcher),
            }
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, compile);
            let thread =
                thread.map_err(|error| Error::TooComplex { reason: format!("no thread to compile on: {error}") })?;
            thread.join().unwrap_or_else(|_| Err(Error::of_library("panic")))
        })
    }
}

/// The tools that may be called.
fn offered<'s>(spec: &'s Spec) -> Result<Vec<&'s Tool>, Error> {
    match &spec.choice {
        ToolChoice::None => Ok(Vec::new()),
        ToolChoice::Auto => Ok(spec.tools.iter().collect()),
        ToolChoice::Required if spec.tools.is_empty() => Err(Error::NoTools),
        ToolChoice::Required => Ok(spec.tools.iter().collect()),
        ToolChoice::Named(name) => match spec.tools.iter().find(|tool| tool.name == *name) {
            Some(tool) => Ok(vec![tool]),
            None => Err(Error::UnknownTool { name: crate::error::shown(name) }),
        },
    }
}

/// The library reads its options out of the schema.
fn with_options(schema: Value, lenient: bool) -> Value {
    let mut keywords = match schema {
        Value::Object(keywords) => keywords,
        Value::Bool(true) => serde_json::Map::new(),
        other => return other,
    };
    let options = json!({"whitespace_pattern": WHITE_SPACE, "coerce_one_of": lenient, "lenient": lenient});
    keywords.insert("x-guidance".to_owned(), options);
    Value::Object(keywords)
}

/// Bounds on the work of one grammar, in the library's units: 50,000 units of initial fuel or 14,000 of a step's
/// take a millisecond, a state of the lexer up to 2 kB.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 400_000,
        step_max_items: 100_000,
        max_items_in_row: 4_000,
        max_lexer_states: 50_000,
        max_grammar_size: 400_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}
