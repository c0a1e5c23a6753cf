//! Calls the functions of the database.

use std::borrow::Cow;
use std::sync::OnceLock;

use tokio_postgres::types::{ToSql, Type};

use super::connection::Parameter;

/// An argument of one of the database's functions: its name, its value and its type.
pub(super) type Argument<'a> = (&'static str, &'a (dyn ToSql + Sync), Type);

/// A function of the database, with the SQL statement that calls it. Arguments are passed by their names, so
/// their order does not matter.
///
/// The statement is kept: writing it anew for every call took a fifth of all the instructions that a
/// create costs the gate.
pub(super) struct Function {
    name: &'static str,
    columns: fn() -> Cow<'static, str>,
    first: OnceLock<Call>,
}

/// The statement of a call, and the names of its arguments in the order of their numbers.
struct Call {
    names: Vec<&'static str>,
    statement: String,
}

impl Function {
    /// Describes the database's function `name`. `columns` lists the columns of its result that are read.
    /// List no others: each column costs time in every call, even if nobody reads it.
    pub(super) const fn new(name: &'static str, columns: fn() -> Cow<'static, str>) -> Self {
        Self {
            name,
            columns,
            first: OnceLock::new(),
        }
    }

    /// Returns the statement that calls the function, and its parameters.
    pub(super) fn call<'a>(
        &self,
        arguments: impl IntoIterator<Item = Argument<'a>>,
    ) -> (Cow<'_, str>, Vec<Parameter<'a>>) {
        let arguments = arguments.into_iter();
        let (count, _) = arguments.size_hint();
        let (mut names, mut parameters) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (name, value, of) in arguments {
            names.push(name);
            parameters.push((value, of));
        }
        let first = self.first.get_or_init(|| Call {
            statement: self.statement(&names),
            names: names.clone(),
        });
        // With the arguments in another order, the numbers of the kept statement would give the values to
        // the wrong arguments.
        let statement = if first.names == names {
            Cow::Borrowed(&*first.statement)
        } else {
            Cow::Owned(self.statement(&names))
        };
        (statement, parameters)
    }

    fn statement(&self, names: &[&str]) -> String {
        let names = (1..).zip(names);
        let arguments: Vec<_> = names
            .map(|(number, name)| format!("{name} => ${number}"))
            .collect();
        let (columns, arguments) = ((self.columns)(), arguments.join(", "));
        format!("SELECT {columns} FROM tollgate.{}({arguments})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_kept_and_gives_each_value_to_its_argument() {
        static FUNCTION: Function = Function::new("resolve", || "state, job".into());
        let [a, b]: [Argument<'_>; 2] = [("p_a", &1_i64, Type::INT8), ("p_b", &"b", Type::TEXT)];
        let text = |arguments: Vec<Argument<'_>>| FUNCTION.call(arguments).0;
        let ordered = "SELECT state, job FROM tollgate.resolve(p_a => $1, p_b => $2)";
        let reversed = "SELECT state, job FROM tollgate.resolve(p_b => $1, p_a => $2)";
        let first = text(vec![a.clone(), b.clone()]);
        assert_eq!(first, ordered);
        assert_eq!(text(vec![b.clone(), a.clone()]), reversed);
        assert_eq!(
            text(vec![b.clone()]),
            "SELECT state, job FROM tollgate.resolve(p_b => $1)"
        );
        let again = text(vec![a, b]);
        assert_eq!(again, ordered);
        // The statement was not written anew.
        assert_eq!(again.as_ptr(), first.as_ptr());
    }
}
