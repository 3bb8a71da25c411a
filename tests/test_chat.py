"""Chat templates: real ones, broken ones, hostile ones."""

from __future__ import annotations

import pytest

from llama_diversity.engines.chat import Chat
from llama_diversity.errors import TemplateError

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


def test_llama_2() -> None:
    assert chat(LLAMA_2).render("Who was she?") == "<s>[INST] Who was she? [/INST]"
    assert chat(LLAMA_2).render("Hi", system="Be brief.") == "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"


def test_chatml() -> None:
    assert chat(CHATML).render("Hi") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_what_templates_probe_may_be_missing() -> None:
    assert chat("{% if tools %}tools{% endif %}{% if tools is defined %}defined{% endif %}ok").render("x") == "ok"


def test_the_date_is_frozen() -> None:
    assert chat("{{ strftime_now('%d %b %Y') }}").render("x") == "26 Jul 2024"


def test_loop_controls_json_and_generation_tags() -> None:
    template = "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    assert chat(template + "{% generation %}{{ {'é': 1} | tojson }}{% endgeneration %}").render("x") == '1{"é": 1}'


def test_the_digest_tells_templates_apart() -> None:
    assert chat("a").digest != chat("b").digest


def test_user_text_is_not_a_template() -> None:
    assert "{{ 7 * 7 }}" in chat(CHATML).render("{{ 7 * 7 }}")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ messages", "TemplateSyntaxError"),
        ("{{ raise_exception('only one turn') }}", "it says: only one turn"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.__init__.__globals__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
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


def test_a_template_without_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.engines.chat._LONGEST_SECONDS", 0.05)
    # 200 x 200 x 200 rounds without a word of output: about a second, then the thread ends by itself.
    silent = "{% for i in range(200) %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(TemplateError, match="ran longer than 0.05 seconds"):
        chat(silent).render("x")
