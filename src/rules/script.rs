//! The Rhai engine for playbooks: closed, bounded, and without a clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, FuncArgs, Position, Scope};

use super::constructors;

/// Operations per call: about 5 ms. A count and not a clock, or a replay would differ.
const MAX_OPERATIONS: u64 = 200_000;
/// Call depth: with the expression depths below, the deepest script stays far below [`STACK`].
const MAX_CALL_LEVELS: usize = 16;

/// Elements of arrays and entries of maps, nested ones included: the tests of a playbook with a dozen
/// routes in them fit, and what is nested this deep can still be dropped on [`STACK`].
const MAX_ARRAY: usize = 1_000;
const MAX_MAP: usize = 2_000;

/// The stack that scripts need. A stack that overflows aborts the process, so every thread that runs them
/// has one of this size.
pub const STACK: usize = 16 << 20;

/// An engine with every limit set. It has no package that sleeps, prints, reads files or asks for time.
pub(super) fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    engine.set_max_operations(MAX_OPERATIONS);
    engine.set_max_call_levels(MAX_CALL_LEVELS);
    engine.set_max_expr_depths(64, 32);
    engine.set_max_string_size(64 * 1024);
    engine.set_max_array_size(MAX_ARRAY);
    engine.set_max_map_size(MAX_MAP);
    engine.set_max_variables(256);
    engine.set_max_functions(256);
    engine.set_max_modules(0);
    engine.set_max_strings_interned(1_024);
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    engine.disable_symbol("eval");
    engine.disable_symbol("import");
    engine.on_print(|_| {});
    engine.on_debug(|_, _, _| {});
    constructors::register(&mut engine);
    engine
}

/// What went wrong in a script, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptError {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) text: String,
}

impl ScriptError {
    fn new(position: Position, text: String) -> Self {
        let place = |part: Option<usize>| part.and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        Self { line: place(position.line()), column: place(position.position()), text }
    }
}

/// Compiles a script.
///
/// # Errors
/// The first syntax error, with its place.
pub(super) fn compile(engine: &Engine, text: &str) -> Result<AST, ScriptError> {
    engine.compile(text).map_err(|error| ScriptError::new(error.position(), error.err_type().to_string()))
}

/// A checked script. Its tree is ten times as long as its text, and most of ten thousand playbooks are never
/// asked: the tree is made again when the script is called first, and then kept.
#[derive(Debug)]
pub(super) struct Script {
    engine: Arc<Engine>,
    text: String,
    tree: OnceLock<AST>,
}

impl Script {
    /// Compiles a script to find its mistakes; answers with the tree too, which is not kept.
    ///
    /// # Errors
    /// The first syntax error, with its place.
    pub(super) fn check(engine: &Arc<Engine>, text: &str) -> Result<(Self, AST), ScriptError> {
        let tree = compile(engine, text)?;
        let script = Self { engine: Arc::clone(engine), text: text.to_owned(), tree: OnceLock::new() };
        Ok((script, tree))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Calls one of its functions with `this` bound.
    ///
    /// # Errors
    /// As for [`call`].
    pub(super) fn call(
        &self,
        name: &str,
        this: Option<Dynamic>,
        args: impl FuncArgs,
    ) -> Result<Dynamic, ScriptError> {
        call(&self.engine, self.tree()?, name, this, args)
    }

    /// The syntax tree.
    ///
    /// # Errors
    /// The first syntax error; there is none, because the same text was compiled before.
    pub(super) fn tree(&self) -> Result<&AST, ScriptError> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree);
        }
        let tree = compile(&self.engine, &self.text)?;
        Ok(self.tree.get_or_init(|| tree))
    }
}

/// Calls a function of the script with `this` bound.
///
/// # Errors
/// A run-time error or an exceeded limit, with its place. A panic inside is caught and told.
pub(super) fn call(
    engine: &Engine,
    ast: &AST,
    name: &str,
    this: Option<Dynamic>,
    args: impl FuncArgs,
) -> Result<Dynamic, ScriptError> {
    let mut this = this.unwrap_or(Dynamic::UNIT);
    let options = CallFnOptions::new().eval_ast(false).rewind_scope(true).bind_this_ptr(&mut this);
    let run = AssertUnwindSafe(|| {
        engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), ast, name, args)
    });
    match catch_unwind(run) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err(ScriptError::new(Position::NONE, format!("{name}() made the script engine panic"))),
    }
}

/// The innermost place and words of an error: the call chain around it helps nobody at night.
fn explain(error: &EvalAltResult) -> ScriptError {
    if let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
        return explain(inner);
    }
    let mut bare = error.to_string();
    if let Some(at) = bare.rfind(" (line ") {
        bare.truncate(at);
    }
    ScriptError::new(error.position(), bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a script runs to its end, on the stack that scripts have.
    fn run(body: &str) -> Result<(), ScriptError> {
        let text = format!("fn f() {{ {body} }}\nfn deeper(n) {{ deeper(n + 1) }}\n");
        let work = move || {
            let engine = engine();
            let ast = compile(&engine, &text)?;
            call(&engine, &ast, "f", None, ()).map(|_| ())
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
        thread.expect("a thread can be started").join().expect("a script does not panic")
    }

    // Mutation: leaving any `set_max_...` or `disable_symbol` out of `engine()`.
    #[test]
    fn every_way_to_run_away_ends_in_an_error() {
        for body in [
            "loop { }",
            "while true { let x = 1; }",
            "deeper(0)",
            "let f = |n| 1; loop { f.call(1); }",
            "let s = \"x\"; loop { s += s; }",
            "let s = \"\"; s.pad(2000000000, 'x'); s",
            "let a = []; loop { a.push(a); }",
            "let a = []; a.pad(2000000000, 0); a",
            "let a = [1]; loop { a += a; }",
            "let a = []; loop { a = [a]; }",
            "let m = #{}; loop { m = #{ m: m }; }",
            "let m = #{}; let i = 0; loop { m[`${i}`] = i; i += 1; }",
            "let s = \"a,\"; loop { s.replace(\",\", \",,,,,,,,\"); }",
            "range(0, 1000000000).map(|x| x)",
            "(0..1000000000).map(|x| x)",
            "for i in 0..100000000 { let x = i; }",
        ] {
            assert!(run(body).is_err(), "{body}");
        }
    }

    #[test]
    fn nothing_of_the_outside_can_be_named() {
        for body in [
            "eval(\"1\")",
            "sleep(1)",
            "sleep(0.1)",
            "Fn(\"sleep\").call(1)",
            "timestamp()",
            "import \"x\" as y; 1",
            "rand()",
            "blob(3000000000)",
            "open_file(\"x\")",
            "undeclared",
            "let m = #{}; m.missing",
        ] {
            assert!(run(body).is_err(), "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_runs() {
        let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(run(&nested).is_err());
        let lists = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(run(&lists).is_err());
        // The deepest that is allowed runs on the small stack of a test thread.
        let inner = format!("{}deeper2(n - 1){}", "(1 + ".repeat(9), ")".repeat(9));
        let engine = engine();
        let text =
            format!("fn deeper2(n) {{ if n == 0 {{ 0 }} else {{ {inner} }} }} fn f() {{ deeper2(14) }}");
        let ast = compile(&engine, &text).unwrap();
        assert!(call(&engine, &ast, "f", None, ()).is_ok());
    }

    #[test]
    fn errors_name_their_place() {
        let engine = engine();
        let ast = compile(&engine, "fn f() {\n  let x = 1;\n  x.nothing()\n}\n").unwrap();
        let error = call(&engine, &ast, "f", None, ()).unwrap_err();
        assert_eq!(error.line, 3, "{error:?}");
    }
}
