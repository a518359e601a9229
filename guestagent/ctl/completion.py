# SPDX-License-Identifier: Apache-2.0
"""``guestctl complete``: what bash needs to complete commands, options and instances.

The script holds all commands and options.  Only the ids of instances are asked for when
they are wanted, from the conductor, at most every 30 seconds and without a word if it
does not answer.
"""

import argparse
import shlex
from collections.abc import Iterator
from typing import Any

from cliff import complete

from guestagent.ctl import base

#: In place of choices: the id of an instance.
_INSTANCE = '<instance>'

_SCRIPT = """\
# Completion of {name} for bash 4 and later:  source <({name} complete)

declare -gA _{function}_options=(
{options}
)
declare -gA _{function}_choices=(
{choices}
)

_{function}_instances() {{
    if (( SECONDS >= ${{_{function}_asked:--60}} + 30 )); then
        _{function}_asked=$SECONDS
        _{function}_known=$({name} --timeout 3 instance list -f value -c id \\
            2>/dev/null </dev/null)
    fi
}}

_{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command={name} given=0 skip='' word next choices
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        next="$command $word"
        if [[ -n $skip ]]; then
            skip=''
        elif [[ $word == [:=] ]]; then
            # bash splits words there; the rest of the word is no word of ours.
            skip=yes
        elif [[ $word == -- ]]; then
            # What follows is for a program in the guest.
            return
        elif [[ $word == -* ]]; then
            [[ -n ${{_{function}_choices[$command $word]+set}} ]] && skip=yes
        elif [[ $given == 0 && -n ${{_{function}_options[$next]+set}} ]]; then
            command=$next
        else
            given=$((given + 1))
        fi
    done
    if [[ $cur == -* && -z $skip ]]; then
        choices=${{_{function}_options[$command]}}
    elif [[ -n $skip ]]; then
        choices=${{_{function}_choices[$command $previous]}}
    else
        choices=${{_{function}_choices[$command $given]-}}
    fi
    if [[ $choices == '{instance}' ]]; then
        _{function}_instances
        choices=$_{function}_known
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$cur"))
}}

complete -o default -F _{function} {name}
"""


class Complete(base.Command, complete.CompleteCommand):
    """Print what bash needs to complete commands: source <(guestctl complete)."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Print the script, or only the data."""
        if parsed_args.shell != 'bash':
            return int(super().take_action(parsed_args))
        name = parsed_args.name or self.app.NAME
        options: dict[str, str] = {}
        choices: dict[str, str] = {}
        for command, parser in self._parsers(name):
            options[command] = ' '.join(_option_strings(parser))
            for place, values in _choices(parser):
                choices[f'{command} {place}'] = values
        for beginning, following in self._words(name):
            options.setdefault(beginning, '')
            choices[f'{beginning} 0'] = ' '.join(following)
        self.app.stdout.write(
            _SCRIPT.format(
                name=name,
                function=name.replace('-', '_'),
                instance=_INSTANCE,
                options=_array(options),
                choices=_array(choices),
            )
        )
        return 0

    def _parsers(self, program: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        """Return the program and each of its commands with its parser."""
        yield program, self.app.parser
        for name, _ in self.app.command_manager:
            factory = self.app.command_manager.find_command(name.split())[0]
            command = f'{program} {name}'
            yield command, factory(self.app, None).get_parser(command)

    def _words(self, program: str) -> Iterator[tuple[str, list[str]]]:
        """Return what may follow the program, and the first of two words."""
        names = [name.split() for name, _ in self.app.command_manager]
        yield program, sorted({words[0] for words in names})
        for first in sorted({words[0] for words in names if len(words) > 1}):
            yield (
                f'{program} {first}',
                sorted(words[1] for words in names if words[0] == first),
            )


def _array(values: dict[str, str]) -> str:
    """Return the items of an associative array of bash."""
    return '\n'.join(
        f'    [{shlex.quote(key)}]={shlex.quote(value)}'
        for key, value in sorted(values.items())
    )


def _option_strings(parser: argparse.ArgumentParser) -> list[str]:
    return [
        text
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for text in action.option_strings
    ]


def _choices(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Return what may follow each option that takes a value, and stand at each place.

    An option or place of which nothing is known has ``''``: bash offers files.
    """
    place = 0
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or action.nargs == 0:
            continue
        values = _values(action)
        for text in action.option_strings:
            yield text, values
        if not action.option_strings:
            yield str(place), values
            place += 1


def _values(action: Any) -> str:
    if action.dest == 'instance':
        return _INSTANCE
    return ' '.join(action.choices or ())
