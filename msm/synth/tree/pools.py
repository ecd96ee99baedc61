"""Names and days that documents may use: drawn by us, because a model left alone returns to the same few.

Pure data and two draws. Neighbours: `order` draws for each idea. Invariant: a draw depends on its random stream alone; no name here is
one of an AI model.
"""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

_GIVEN: Final = """
Abena Adaeze Aino Aleksy Amparo Anouk Arvid Asha Bahar Beatriz Berit Bogdan Bronwyn Callum Camille Chidi Corinne Dagny Damir Deepa
Dermot Dilnoza Edda Eilidh Elif Emeka Enzo Esther Farid Fatou Femke Fergus Gaurav Gerda Gideon Giulia Gustavo Habiba Hamish Hanne Hector
Hye-jin Ibrahim Ilse Imani Ines Iskra Ivo Jamal Janneke Jirka Joaquin Kalinda Kamil Kaori Kerstin Khalid Kofi Lamar Leilani Lena Lidia
Linh Lorcan Lucja Magnus Malik Marisol Mateo Meera Mehmet Milena Minh Moira Nadia Naoko Ngaio Nikos Nkechi Odile Olamide Orla Oskar Otto
Paloma Parisa Patrick Petra Pilar Priscilla Quentin Radha Rafael Ramona Rania Renske Rosalind Ruben Ruth Samir Sanne Sergio Shanice
Signe Silvia Solveig Stelian Sunil Tadeusz Tamsin Tariq Tessa Thabo Thorsten Tomoko Ulrike Vanya Vera Vikram Wanjiru Wilma Xiomara
Yannick Yasmin Yosef Yusra Zdenka Zeynep Zofia
"""

_FAMILY: Final = """
Abara Achterberg Adeyemi Aguilar Almeida Amundsen Andrade Arslan Bakker Balogun Bartosz Basu Becker Bellamy Benning Bianchi Borges Boyle
Brandvold Brecht Calder Campos Castellanos Chaudhry Cimino Clarke Corrigan Dahl Danjuma Dekker Delacroix Demir Desrosiers Dlamini Doyle
Drummond Duarte Eriksen Escobar Faber Farrow Fekete Ferrante Fofana Fontaine Friis Gallagher Ganguly Garrido Georgiou Gill Grabowski
Greaves Haddad Halloran Hamada Harcourt Hashemi Heikkinen Herrera Hinds Holm Horvat Huang Iglesias Ismail Iversen Jankowski Jarvis Jovanovic
Kaplan Karlsen Kaur Keane Kimani Kirby Kowalczyk Kruse Laaksonen Lachance Langley Lindqvist Lombardi Lopes Madsen Mahlangu Malone Marchetti
Mbeki McAllister Mensah Mihailov Molnar Morales Nakagawa Navarro Ndiaye Nolan Novotny Nyberg Obi Oduya Okafor Olsen Orozco Osei Pacheco
Papadakis Pereira Petrov Pham Quiroga Rahman Ramaswamy Rasmussen Renaud Ribeiro Rossetti Rutherford Saarinen Sadiq Salazar Sandoval Santos
Schouten Sepulveda Shapiro Sharma Silvestri Sokolov Soto Stavros Sutherland Takeda Talbot Tembo Thorne Tkachuk Tran Ueda Uzun Valdez Vance
Varga Vermeulen Villanueva Wachira Walczak Weaver Westergaard Whitlock Xu Yamada Yilmaz Zamora Zapata Zielinski
"""

GIVEN: Final = tuple(_GIVEN.split())
FAMILY: Final = tuple(_FAMILY.split())
FIRST_DAY: Final = date(2023, 1, 1)
DAYS: Final = 365 * 4


def people(rng: random.Random, wanted: int = 4) -> str:
    """Different full names, as a list to read."""
    return ", ".join(f"{given} {family}" for given, family in zip(_some(rng, GIVEN, wanted), _some(rng, FAMILY, wanted), strict=True))


def day(rng: random.Random) -> str:
    """A day within four years, such as 3 May 2024."""
    found = FIRST_DAY + timedelta(days=int(rng.random() * DAYS))
    return f"{found.day} {found:%B} {found.year}"


def _some(rng: random.Random, pool: Sequence[str], wanted: int) -> list[str]:
    """Different entries; by `random` alone, whose stream Python keeps the same over versions."""
    left, found = list(pool), []
    for _ in range(wanted):
        found.append(left.pop(int(rng.random() * len(left))))
    return found
