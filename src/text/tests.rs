use super::*;

/// Each field's items; `None` is a null.
struct Row(Vec<Option<Vec<&'static str>>>);

impl RowValues for Row {
    fn is_empty(&self, field: usize) -> bool {
        match &self.0[field] {
            None => true,
            Some(items) => items.is_empty(),
        }
    }

    fn write(&self, field: usize, text: &mut dyn Write) -> fmt::Result {
        let items = self.0[field].as_deref().unwrap_or_default();
        text.write_str(&items.join(LIST_SEPARATOR))
    }
}

fn text_of(recipe: &TextRecipe, values: &[&[&'static str]]) -> String {
    let value = |items: &&[&'static str]| (!items.is_empty()).then(|| items.to_vec());
    let row = Row(values.iter().map(value).collect());
    let mut text = String::new();
    recipe.write(&mut text, &row).expect("a string takes it");
    text
}

fn template(template: &str) -> TextRecipe {
    TextRecipe::template(template).expect("a template")
}

#[test]
fn line_whose_fields_are_all_empty_goes_and_other_lines_stay() {
    let recipe = template("title: {title}\nby {who}, {when}\n--\nbody: {body}");
    for (values, expected) in [
        ([&["t"][..], &["w"], &["1"], &["b"]], "title: t\nby w, 1\n--\nbody: b"),
        ([&["t"], &[], &[], &["b"]], "title: t\n--\nbody: b"),
        ([&["t"], &[], &["1"], &[]], "title: t\nby , 1\n--"),
        ([&[], &[], &[], &["a", "b"]], "--\nbody: a, b"),
        ([&[], &[], &[], &[]], ""),
    ] {
        assert_eq!(text_of(&recipe, &values), expected, "{values:?}");
    }
}

#[test]
fn columns_are_lines_and_one_column_is_taken_unchanged() {
    let two = TextRecipe::columns(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(text_of(&two, &[&["x"], &["y\nz "]]), "x\ny\nz ");
    assert_eq!(text_of(&two, &[&[], &["y"]]), "y");
    let one = TextRecipe::columns(vec!["a".to_owned()]);
    assert_eq!(text_of(&one, &[&["  x {b}\n\n"]]), "  x {b}\n\n");
}

#[test]
fn task_recipe_gives_the_texts_of_the_task_template() {
    let task = TextTemplate { files_prefix: "{Files}: ".to_owned() };
    let columns = TaskColumns {
        title: "title".to_owned(),
        description: Some("description".to_owned()),
        files: Some("files".to_owned()),
        files_required: false,
    };
    let recipe = TextRecipe::task(columns, &task);
    for (title, description, files) in [
        ("t", "d", &["a", "b"][..]),
        ("t", "", &[]),
        ("", "d", &["a"]),
        ("", "", &[""]),
        (" ", "", &[]),
        ("", "", &[]),
    ] {
        let mut expected = String::new();
        let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
        task.write(&mut expected, some(title), some(description), files.iter().copied())
            .expect("a string takes it");
        let one = |text: &'static str| if text.is_empty() { vec![] } else { vec![text] };
        let found = text_of(&recipe, &[&one(title), &one(description), files]);
        assert_eq!(found, expected, "{title:?}, {description:?}, {files:?}");
    }
}

#[test]
fn recipe_shows_as_a_template_that_makes_the_same_texts() {
    for text in ["{a}", "x{{y}} {a}: {b.c}\n\n{a}", "{{n: {n}}}", "\u{e9} {a b}"] {
        let recipe = template(text);
        assert_eq!(recipe.to_string(), text);
        assert_eq!(template(&recipe.to_string()), recipe, "{text}");
        assert_eq!(TextRecipe::from_lines(recipe.to_lines()), recipe, "{text}");
    }
    let names: Vec<&str> = ["{b.c} {a} {b.c}"]
        .iter()
        .flat_map(|text| template(text).fields.into_iter().map(|field| field.name.leak() as &str))
        .collect();
    assert_eq!(names, ["b.c", "a"]);
}

#[test]
fn bad_template_is_refused_with_what_is_wrong() {
    for (text, wrong) in [
        ("", TemplateError::NoColumn),
        ("title", TemplateError::NoColumn),
        ("{{title}}", TemplateError::NoColumn),
        ("{}", TemplateError::EmptyName),
        ("{a", TemplateError::Unclosed),
        ("{a\n}", TemplateError::Unclosed),
        ("{a{b}}", TemplateError::Unclosed),
        ("a} {b}", TemplateError::Unopened),
    ] {
        assert_eq!(TextRecipe::template(text), Err(wrong), "{text:?}");
    }
    assert_eq!(
        TemplateError::Unclosed.to_string(),
        "has a { that is not closed in its line; write {{ for a brace"
    );
}

#[test]
fn split_names_columns_of_the_text() {
    let split = |name: &str, separator: &str| {
        template("{a} {b}").with_split(&BTreeMap::from([(name.to_owned(), separator.to_owned())]))
    };
    let recipe = split("b", ";").expect("a column of the text");
    assert_eq!(recipe.fields()[1].separator.as_deref(), Some(";"));
    assert_eq!(recipe.split(), BTreeMap::from([("b".to_owned(), ";".to_owned())]));
    assert_eq!(
        split("c", ";").expect_err("no column"),
        "names \"c\", which is no column of the text; those are \"a\", \"b\""
    );
    assert_eq!(split("a", "").expect_err("empty"), "has an empty separator for \"a\"");
}
