"""Chat templates: real ones, broken ones, hostile ones."""

from __future__ import annotations

import pytest

from llama_diversity.engines.chat import Chat
from llama_diversity.errors import BadValue, TemplateError

LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chat(template: str) -> Chat:
    return Chat(template, bos="<s>", eos="</s>")


def prompt(template: str, user: str = "x", system: str | None = None) -> str:
    return chat(template).render(user, system=system).text


def test_llama_2() -> None:
    assert prompt(LLAMA_2, "Who was she?") == "<s>[INST] Who was she? [/INST]"
    assert prompt(LLAMA_2, "Hi", "Be brief.") == "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"


def test_chatml() -> None:
    assert prompt(CHATML, "Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_one_template_renders_texts_of_any_form_one_after_the_other() -> None:
    template = chat(LLAMA_2)
    assert template.render("Hi").text == "<s>[INST] Hi [/INST]"
    assert template.render("Hi", system="Be brief.").text == prompt(LLAMA_2, "Hi", "Be brief.")
    assert template.render("Who?").text == "<s>[INST] Who? [/INST]"
    given = chat("{% if loud %}Hey {% endif %}{{ messages[0].content }}")
    assert [given.render("x", args=args).text for args in (None, '{"loud": true}', None)] == ["x", "Hey x", "x"]


@pytest.mark.parametrize("name", ["tools", "documents"])
def test_what_is_not_given_is_none_as_in_transformers(name: str) -> None:
    probe = f"{{% if {name} is not none %}}some{{% endif %}}{{% if {name} %}}some{{% endif %}}"
    assert prompt(probe + "{{ messages[0].content }}") == "x"


def test_what_templates_probe_may_be_missing() -> None:
    assert prompt("{% if builtin_tools is defined %}defined{% endif %}{{ messages[0].content }}") == "x"


def test_the_date_is_frozen() -> None:
    assert prompt("{{ strftime_now('%d %b %Y ') + messages[0].content }}") == "26 Jul 2024 x"


def test_loop_controls_json_and_generation_tags() -> None:
    template = "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    body = "{{ {'é': 1} | tojson(separators=(',', ':')) }}{{ messages[0].content }}"
    assert prompt(template + "{% generation %}" + body + "{% endgeneration %}") == '1{"é":1}x'


def test_the_digest_tells_templates_apart() -> None:
    assert chat("a").digest != chat("b").digest


def test_user_text_is_not_a_template() -> None:
    assert "{{ 7 * 7 }}" in prompt(CHATML, "{{ 7 * 7 }}")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ messages", "TemplateSyntaxError"),
        ("{{ raise_exception('only one turn') }}", "it says: only one turn"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.__init__.__globals__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% set _ = namespace(_x=1) %}", "SecurityError"),
        ("{% set space = namespace() %}{% set space._x = 1 %}", "SecurityError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[9]['content'] }}", "UndefinedError"),
        ("{% for i in range(1000) %}{{ 'x' * 100000 }}{% endfor %}", "more than 1,000,000 characters"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "OverflowError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
    ],
)
def test_a_bad_template_is_one_sentence(template: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        chat(template).render("x")
    sentence = str(caught.value)
    assert sentence.startswith("The chat template cannot be used: ")
    assert reason in sentence
    assert sentence.endswith("where chat was asked for (--chat, or chat in --arm) leave it out.")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "made",
    ["'a' * 10 ** 9", "10 ** 9 * 'a'", "messages * 10 ** 9", "2 ** 10 ** 9", "messages|batch(9)"],
)
def test_what_no_clock_could_end_is_refused(made: str) -> None:
    """Not even a constant is computed while the template compiles."""
    with pytest.raises(TemplateError, match="cannot be used"):
        Chat("{{ messages[0].content }}{{ (" + made + ")|length }}", bos="", eos="").render("Hi")
    assert "64 aaa" in Chat("{{ messages[0].content }} {{ 2 ** 6 }} {{ 'a' * 3 }}", bos="", eos="").render("Hi").text


def test_a_template_without_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.engines.chat._LONGEST_SECONDS", 0.05)
    # 200 x 200 x 200 rounds without a word of output: about a second, then the thread ends by itself.
    silent = "{% for i in range(200) %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(TemplateError, match="ran longer than 0.05 seconds"):
        chat(silent).render("x")


# ---- what is asked comes out, or the prompt is refused


ONLY_USERS = "{% for message in messages if message.role == 'user' %}<|user|>{{ message.content }}{% endfor %}<|ai|>"
PARTS = (
    "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}<|ai|>"
)
PARTS_OF_USERS = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ message.content[0].text }}"
    "{% else %}{{ '<sys>' + message.content + '</sys>' }}{% endif %}{% endfor %}<|ai|>"
)
BROKEN_LIST = "{% for message in messages %}{{ message.role }}: {{ message.content.text }}{% endfor %}"


def texts(template: str, user: str, system: str | None = None) -> list[str]:
    return [part.text for part in chat(template).render(user, system=system).parts if not part.is_template]


def test_the_pieces_say_what_the_template_wrote() -> None:
    parts = chat(LLAMA_2).render("Who?", system="user").parts
    assert [tuple(part) for part in parts] == [
        ("<s>[INST] <<SYS>>\n", True), ("user", False), ("\n<</SYS>>\n\n", True), ("Who?", False), (" [/INST]", True)
    ]  # fmt: skip


def test_a_text_that_stands_in_the_frame_too_is_told_apart_from_it() -> None:
    parts = chat(CHATML).render("user").parts
    assert [part.text for part in parts] == ["<|im_start|>user\n", "user", "<|im_end|>\n<|im_start|>assistant\n"]


@pytest.mark.parametrize("text", ["Hi", " a\n\nb ", "<b>&'\"</b>", "{% raw %}", "北京是", "</s><|user|>", "a" * 5000])
@pytest.mark.parametrize("template", [CHATML, PARTS, PARTS_OF_USERS, ONLY_USERS])
def test_a_text_comes_out_whole(template: str, text: str) -> None:
    assert texts(template, text) == [text]


@pytest.mark.parametrize("filters", ["| trim", "| trim | trim", ".strip()"])
def test_blanks_around_a_text_may_go(filters: str) -> None:
    template = "[{{ messages[0].content" + filters + " }}]"
    assert texts(template, " \n Who is \n she? \n") == ["Who is \n she?"]
    assert texts("[{{ messages[0].content.lstrip('\n') }}]", "\n\n Hi \n") == [" Hi \n"]
    assert prompt(template, "  \n ") == "[]"


@pytest.mark.parametrize("template", [PARTS, PARTS_OF_USERS])
def test_content_is_given_in_parts_where_it_is_lost_as_text(template: str) -> None:
    assert texts(template, "Who?") == ["Who?"]
    assert texts(template, "Who?", "Be brief.") == ["Be brief.", "Who?"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages[0].content | upper }}", "Hi"),
        ("{{ messages[0].content | e }}", "1 < 2"),
        ("{{ messages[0].content | tojson }}", 'say "no"'),
        ("{{ messages[0].content | replace('Hi', 'Ho') }}", "Hi"),
        ("{{ messages[0].content.split(',')[0] }}", "one, two"),
        ("{{ messages[0].content | truncate(40) }}", "word " * 40),
        ("{{ messages[0].content.split() | join(' ') }}", "a  b"),
    ],
)
def test_a_changed_text_is_refused(template: str, text: str) -> None:
    with pytest.raises(TemplateError, match="chat template (changes what is asked|loses what is asked)"):
        chat(template).render(text)


def test_escaping_that_has_nothing_to_escape_changes_nothing() -> None:
    assert prompt("{{ messages[0].content | tojson }}", "Hi") == '"Hi"'


def test_a_frame_that_depends_on_the_text_still_shows_it() -> None:
    template = "{% if '?' in messages[0].content %}Q: {% else %}S: {% endif %}{{ messages[0].content }}\nA:"
    assert [tuple(part) for part in chat(template).render("Who?").parts] == [
        ("Q: ", True), ("Who?", False), ("\nA:", True)
    ]  # fmt: skip
    with pytest.raises(TemplateError, match="changes what is asked"):  # which of the two it is cannot be told
        chat("{% if '?' in messages[0].content %}?{% endif %}{{ messages[0].content }}").render("?")


def test_a_switch_inside_the_system_text_is_not_in_the_prompt() -> None:
    template = "{{ messages[0].content | replace('/no_think', '') }}{{ messages[1].content }}"
    with pytest.raises(TemplateError, match="changes the system text: 'Be brief. /no_think'"):
        chat(template).render("Hi", system="Be brief. /no_think")


@pytest.mark.parametrize("template", ["<|user|>", "{{ bos_token }}", BROKEN_LIST, "{{ messages[0].role }}", "{# #}"])
def test_a_template_that_loses_what_is_asked_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="loses what is asked: .* Name another template"):
        chat(template).render("Hi")


def test_a_system_text_without_a_place_is_refused() -> None:
    assert prompt(ONLY_USERS, "Hi") == "<|user|>Hi<|ai|>"
    with pytest.raises(TemplateError, match="no place for a system text: .* Put it into the prompt itself"):
        chat(ONLY_USERS).render("Hi", system="Be brief.")
    with pytest.raises(TemplateError, match="it says: no system"):
        chat("{% if messages[1] %}{{ raise_exception('no system') }}{% endif %}").render("Hi", system="Be brief.")


def test_a_list_that_is_printed_as_such_is_no_text() -> None:
    printed = "{{ messages[-1].content if messages[-1].content is not string }}"
    with pytest.raises(TemplateError, match="loses what is asked"):
        chat(printed).render("Hi")
    with pytest.raises(TemplateError, match="loses what is asked"):
        chat("{{ messages[-1].content | tojson if messages[-1].content is not string }}").render("Hi")


# ---- values for a template


THINKS = (
    "{% set enable_thinking = enable_thinking | default(true) %}{{ messages[0].content }}"
    "{% if effort is defined %} [{{ effort }}]{% endif %}<ai>{% if not enable_thinking %}<think></think>{% endif %}"
)


@pytest.mark.parametrize(
    ("args", "rendered"),
    [
        (None, "x<ai>"),
        ('{"enable_thinking": true}', "x<ai>"),
        ('{"enable_thinking": false}', "x<ai><think></think>"),
        ('{"effort": "low", "enable_thinking": false}', "x [low]<ai><think></think>"),
    ],
)
def test_values_reach_the_template(args: str | None, rendered: str) -> None:
    assert chat(THINKS).render("x", args=args).text == rendered


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ('{"enable_thinkng": false}', "--template-arg is 'enable_thinkng=False'; the chat template reads no value of"),
        ('{"content": "y"}', "reads no value of that name"),  # a message's, not the template's
        ('{"messages": []}', "messages is given to every template as it is"),
        ('{"bos_token": "y"}', "bos_token is given to every template as it is"),
    ],
)
def test_a_value_that_does_nothing_is_refused(args: str, said: str) -> None:
    with pytest.raises(BadValue) as caught:
        chat(THINKS).render("x", args=args)
    assert said in str(caught.value)


@pytest.mark.parametrize("change", ["upper", "lower", "title"])
def test_a_template_that_writes_other_letters_changes_the_text(change: str) -> None:
    """It may not change this text at all, but what it does to a text is known from others."""
    with pytest.raises(TemplateError, match="changes what is asked: 'Who is Ada.'"):
        chat("{{ messages[0].content | " + change + " }}").render("Who is Ada.")
    template = "{{ messages[0].content | " + change + " }}{{ messages[1].content }}"
    with pytest.raises(TemplateError, match="changes the system text: 'Be brief.'"):
        chat(template).render("Who?", system="Be brief.")
