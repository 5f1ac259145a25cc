"""The words from which the embedded model's generated training text is made."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


def split_phrases(text: str) -> list[str]:
    """The phrases of a comma-separated text."""
    return [phrase.strip() for phrase in text.replace("\n", " ").split(",") if phrase.strip()]


FIRST_NAMES = _words(
    "Ada Alan Grace Linus Maria Pedro Yuki Amara Omar Lena Ivan Rosa Chen Fatima Noah Emma Lucas "
    "Sofia Aisha Daniel Hannah Victor Julia Samuel Clara Felix Nina Oscar Leila Hugo Priya Karim"
)
CITIES = _words(
    "Oslo Lima Cairo Delhi Paris Tokyo Quito Rome Berlin Madrid Lagos Seoul Dublin Vienna Athens "
    "Boston Denver Chicago London Geneva Baghdad Moscow Beijing Sydney Toronto Nairobi Jakarta "
    "Washington Islamabad Jerusalem Dallas Seattle"
)
COLOURS = _words("red blue green yellow black white brown grey orange purple silver golden")
OBJECTS = _words(
    "violin lamp chair boat train letter garden window kettle bridge basket engine camera ticket "
    "pencil hammer carpet mirror bottle wagon piano candle ladder anchor clock drum bicycle coat"
)
VERBS = _words("bought sold found painted repaired lost carried saw borrowed built cleaned drew")
NAMES_OF_FIELDS = _words(
    "name city age price weight colour score status owner level speed height width depth rate "
    "count total share margin signal noise pressure heat load trend index grade risk demand "
    "supply output input growth balance quality volume energy mass length area phase order value "
    "alpha beta delta gamma omega north south east west target result limit source region period"
)
POSITIVE = _words(
    "excellent lovely wonderful pleasant brilliant perfect superb delightful great charming "
    "reliable friendly generous fine splendid"
)
NEGATIVE = _words(
    "terrible awful broken disappointing dreadful poor rude useless boring horrible unpleasant "
    "slow ugly faulty dirty"
)
CAPITALS = [
    ("France", "Paris"),
    ("Japan", "Tokyo"),
    ("Norway", "Oslo"),
    ("Peru", "Lima"),
    ("Egypt", "Cairo"),
    ("India", "Delhi"),
    ("Italy", "Rome"),
    ("Germany", "Berlin"),
    ("Spain", "Madrid"),
    ("Ireland", "Dublin"),
    ("Austria", "Vienna"),
    ("Greece", "Athens"),
    ("Iraq", "Baghdad"),
    ("Russia", "Moscow"),
    ("China", "Beijing"),
    ("Kenya", "Nairobi"),
    ("Ecuador", "Quito"),
    ("Indonesia", "Jakarta"),
]

SUBJECTS: dict[str, dict[str, list[str]]] = {
    "sport": {
        "who": split_phrases(
            "the coach, the striker, the champions, the goalkeeper, the national team, the captain,"
            "the quarterback, the pitcher, the sprinter, the tennis star, the golfer, the swimmer,"
            "the rookie, the cyclists, the referee, the Red club, the league leaders, the batsman,"
            "the point guard, the Olympic medalist, the cricket side, the rugby squad, the driver"
        ),
        "what": split_phrases(
            "the final, a late goal, the title, the season, the cup, the match, the tournament,"
            "a knee injury, the world record, the playoffs, a penalty, the championship, the race,"
            "the gold medal, three touchdowns, a home run, the innings, the semifinal, the open,"
            "the Grand Prix, the ninth inning, overtime, the football derby, the basketball game,"
            "the baseball series, the hockey season, a doping test, the Olympic Games, the serve"
        ),
        "does": split_phrases(
            "wins, loses, misses, scores in, beats rivals in, draws, qualifies for, dominates,"
            "returns for, is out of, takes a lead in, defends, is suspended from, trains for"
        ),
    },
    "finance": {
        "who": split_phrases(
            "the bank, shares, the retailer, the oil company, investors, the airline, the insurer,"
            "the central bank, the automaker, the chief executive, stocks, the dollar, the fund,"
            "crude oil, the drug maker, the board, Wall Street, consumers, the steel maker,"
            "the treasury, regulators, the grocer, the union, exporters, bondholders, the lender"
        ),
        "what": split_phrases(
            "a quarterly profit, higher oil prices, a merger, interest rates, a takeover bid,"
            "the jobs report, inflation, a record loss, the stock market, earnings, sales growth,"
            "bankruptcy, a dividend, the trade deficit, new shares, an initial public offering,"
            "a billion dollar deal, layoffs, pensions, crude futures, retail sales, debt, costs,"
            "the forecast, consumer spending, the economy, a price cut, mortgage lending, tariffs"
        ),
        "does": split_phrases(
            "reports, falls on, rises on, cuts, raises, agrees to, warns of, posts, seeks, rejects,"
            "slides after, gains on, expects, files for, beats estimates for, plans, settles"
        ),
    },
    "computing": {
        "who": split_phrases(
            "the software maker, researchers, the chip maker, hackers, the search engine,"
            "engineers,"
            "the web browser, the internet provider, the phone maker, developers, the virus,"
            "the online service, the computer maker, the video game studio, the start-up, users,"
            "the operating system, the wireless carrier, the music player, the supercomputer"
        ),
        "what": split_phrases(
            "a security flaw, the new software, a faster chip, spam e-mail, the web site, a patch,"
            "the internet, broadband access, a mobile phone, open source code, a computer worm,"
            "digital music, the server, a wireless network, the laptop, file sharing, the browser,"
            "an online store, data storage, the search tool, video games, a handheld device,"
            "the download, encryption, a desktop computer, an upgrade, the beta version, a console"
        ),
        "does": split_phrases(
            "releases, fixes, launches, upgrades, attacks, unveils, blocks, tests, supports,"
            "downloads, patents, ships, sues over, spreads through, delays, adds, speeds up"
        ),
    },
    "science": {
        "who": split_phrases(
            "scientists, NASA, astronomers, the space probe, biologists, the astronauts, a study,"
            "geologists, the telescope, the shuttle crew, physicists, the laboratory, the rover,"
            "paleontologists, climate researchers, the satellite, the geneticists, chemists"
        ),
        "what": split_phrases(
            "a distant planet, the moon of Saturn, a fossil, stem cells, the gene, global warming,"
            "the space station, a black hole, the rocket launch, ancient bones, water on Mars,"
            "a new species, the comet, the ozone layer, a galaxy, the spacecraft, an experiment,"
            "the human genome, a dinosaur, the orbit, carbon dioxide, the eclipse, the protein"
        ),
        "does": split_phrases(
            "discovers, studies, orbits, maps, finds evidence of, photographs, explains, measures,"
            "lands near, explores, detects, predicts, clones, observes, simulates"
        ),
    },
    "world affairs": {
        "who": split_phrases(
            "the president, rebels, the prime minister, troops, the foreign minister, militants,"
            "the United Nations, the parliament, police, gunmen, the opposition, diplomats,"
            "soldiers,"
            "the king, insurgents, voters, the army, the government, protesters, the rebel leader,"
            "peacekeepers, the ambassador, the secretary general, refugees, a suicide bomber"
        ),
        "what": split_phrases(
            "the peace talks, the election, a cease-fire, an attack, the hostages, nuclear weapons,"
            "the border, a car bomb, the refugee camp, a referendum, sanctions, the occupied city,"
            "the summit, a coup, the capital, the war, the siege, an air strike, the treaty,"
            "violence, the holy city, an explosion, human rights, the troops, the constitution,"
            "the disputed territory, the kidnapping, the militia, the earthquake, the uranium plan"
        ),
        "does": split_phrases(
            "condemns, kills dozens in, ends, threatens, calls for, rejects, resumes, leaves,"
            "votes on, storms, denies, signs, visits, is wounded in, demands, opposes, supports"
        ),
    },
    "health": {
        "who": split_phrases(
            "doctors, the hospital, patients, the clinic, nurses, the surgeon, the health agency"
        ),
        "what": split_phrases(
            "the flu vaccine, a heart drug, cancer, obesity, the outbreak, a blood test, diabetes,"
            "an allergy, the infection, a new treatment, malaria, the symptoms, sleep, the diet"
        ),
        "does": split_phrases(
            "treats, warns about, recommends, studies, prevents, approves, fights"
        ),
    },
    "arts": {
        "who": split_phrases(
            "the singer, the novelist, the film director, the orchestra, the actress, the painter,"
            "the museum, the band, the poet, the theatre, the guitarist, the dancers"
        ),
        "what": split_phrases(
            "the new album, a film, the stage play, a novel, the opera, the exhibition, a portrait,"
            "the concert tour, the award, the soundtrack, a comedy, the festival, the ballet"
        ),
        "does": split_phrases(
            "performs, records, opens, writes, wins praise for, cancels, directs"
        ),
    },
    "weather": {
        "who": split_phrases(
            "the hurricane, heavy rain, forecasters, the storm, snow, the heat wave, strong winds"
        ),
        "what": split_phrases(
            "the coast, flooding, power cuts, the highlands, a landslide, the islands, dry fields,"
            "the harbour, the warning, roads, the tropical depression, the evacuation"
        ),
        "does": split_phrases("batters, hits, brings, threatens, moves toward, eases over, floods"),
    },
}
