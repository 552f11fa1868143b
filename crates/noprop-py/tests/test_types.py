"""The stubs name what the extension module has."""

import ast
import inspect
import pathlib

import noprop
from noprop import _noprop

STUB = pathlib.Path(noprop.__file__).parent / "_noprop.pyi"


def test_the_package_is_typed():
    assert STUB.with_name("py.typed").exists()


def test_the_stubs_have_the_signatures_of_the_module():
    """An editor shows the stubs, and a type checker believes them."""
    classes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)]
    public = {name for name, value in vars(_noprop).items() if inspect.isclass(value)}
    assert {node.name for node in classes} == public
    for node in classes:
        there = getattr(_noprop, node.name)
        assert ast.get_docstring(node) == inspect.getdoc(there), node.name
        functions = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        own = {name for name in vars(there) if not name.startswith("_")}
        assert {name for name in functions if not name.startswith("_")} == own
        for name, function in functions.items():
            if any(ast.unparse(decorator) == "property" for decorator in function.decorator_list):
                assert inspect.isgetsetdescriptor(vars(there)[name])
                continue
            signature = inspect.signature(there if name == "__new__" else getattr(there, name))
            stubbed = [argument.arg for argument in function.args.args][1:]
            has = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
            assert stubbed == [parameter.name for parameter in has], (node.name, name)
            required = sum(parameter.default is inspect.Parameter.empty for parameter in has)
            assert required == len(stubbed) - len(function.args.defaults), (node.name, name)


def test_every_public_name_has_a_docstring():
    for name in noprop.__all__:
        assert inspect.getdoc(getattr(noprop, name)), name
    for name, value in vars(noprop.NoPropClassifier).items():
        # scikit-learn makes the setters of metadata routing.
        if callable(value) and not name.startswith(("_", "set_")):
            assert inspect.getdoc(value), name
