"""What the English-writing authors of the demo talk about. Lists are ordered by how common an entry is."""

from typing import NamedTuple

from services.ingest.sources.demo.grammar import words


class Topic(NamedTuple):
    """Something to talk about: sentences, the words for their places, hashtags and emoji that go with it."""

    sentences: list[str]
    words: dict[str, list[str]]
    tags: list[str]
    emoji: list[str]
    slugs: list[str]
    """What links on this topic are called."""


TEAMS = words("Green Bay,Dallas,Chicago,Buffalo,Seattle,Denver,Miami,Pittsburgh,Kansas City,Cleveland,Detroit")

FOOTBALL = Topic(
    [
        "{team} by {points}, and it was not even that close",
        "{team} going for it on fourth and {yards}. I can't look",
        "who let {team} score from {yards} yards out?",
        "the {team} defense is {quality} this year",
        "rookie quarterback, road game, rain in {team}. What could go wrong",
        "three turnovers and {team} still won. {quality} game",
        "my fantasy team has {points} points and it is only halftime",
        "{team} fans, how are we feeling about the draft?",
        "that {team} catch at the sideline was {quality}",
        "overtime in {team}! Cancel my plans",
    ],
    {
        "team": TEAMS,
        "points": ["3", "7", "10", "14", "17", "21", "24", "28", "41"],
        "yards": ["1", "2", "4", "6", "9", "12", "30", "55"],
        "quality": ["unreal", "great", "awful", "so good", "wild", "historic", "hard to watch"],
    },
    ["football", "GameDay", "touchdown", "MondayNight", "FantasyFootball", "fourthdown"],
    ["🏈", "🔥", "😱", "🙌", "📣"],
    ["week-recap", "injury-report", "power-rankings", "film-room", "box-score"],
)

NFL = Topic(
    [
        "{nfl} Sunday is the best day of the week",
        "{team} against {other}: is there a better {nfl} rivalry?",
        "still the funniest {nfl} highlight I have seen this season",
        "the new {nfl} schedule is out and {team} got lucky",
        "watching {nfl} with my grandmother, who has {opinion}",
        "no {nfl} until September. What do people do on Sundays",
        "my {nfl} bracket lasted {minutes} minutes",
        "{team} or {other}? Wrong answers only. {nfl}",
        "hot take: {nfl} kickers deserve {opinion}",
        "first {nfl} game at the stadium tonight! {team}, let's go",
    ],
    {
        "nfl": ["NFL", "nfl", "#NFL", "#nfl", "#NFLDraft", "Nfl", "#NFLSunday"],
        "team": TEAMS,
        "other": ["Philadelphia", "Baltimore", "Minnesota", "Houston", "Atlanta", "Tennessee", "Las Vegas"],
        "opinion": ["opinions", "strong opinions", "more respect", "no patience for field goals", "better snacks"],
        "minutes": ["four", "eleven", "twenty", "ninety"],
    },
    FOOTBALL.tags,
    FOOTBALL.emoji,
    FOOTBALL.slugs,
)

INFLATION = Topic(
    [
        "inflation is {change}, says the radio, and my coffee does not agree",
        "the band played on an inflated castle and it was {quality}",
        "conflict over the last slice of {dish} has been settled peacefully",
        "there is a mountain of {dish} influencing all my decisions",
    ],
    {
        "change": ["down again", "up a little", "flat", "higher than expected"],
        "quality": ["great", "unforgettable", "surprisingly good"],
        "dish": ["pizza", "birthday cake", "lasagna", "pie"],
    },
    ["economy", "prices", "weekend"],
    ["📈", "🎈", "🍕"],
    ["prices-explained", "monthly-report"],
)

NEW_YORK = Topic(
    [
        "{nyc} in {season} is something else",
        "the {line} train is {state}. Good morning, {nyc}",
        "best {dish} in {nyc}? I'll walk any distance",
        "just saw a {animal} on the subway. Only in {nyc}",
        "moving to {nyc} in {season}, tell me everything",
        "{nyc} from the ferry at sunset. That's the post",
        "rent in {nyc} should come with a {animal}",
        "walked from {place} to {place} and my feet are done with {nyc}",
        "free concert at {place} tonight, {nyc}!",
        "rooftop, {dish}, {nyc}. Life is fine",
    ],
    {
        "nyc": ["NYC", "nyc", "#NYC", "#nyc", "Nyc", "#NYCMarathon", "#nyclife"],
        "season": ["October", "December", "spring", "August", "the rain", "the snow"],
        "line": ["G", "A", "L", "Q", "7", "F"],
        "state": ["late again", "on time, for once", "delayed", "packed", "somehow empty"],
        "dish": ["bagels", "pizza", "dumplings", "ramen", "cheesecake", "tacos"],
        "animal": ["rat", "pigeon", "parrot", "very calm cat", "raccoon"],
        "place": ["Queens", "Harlem", "the Bronx", "Brooklyn", "Astoria", "Chinatown", "the park", "Red Hook"],
    },
    ["subway", "Brooklyn", "skyline", "citylife", "Queens"],
    ["🗽", "🌆", "🚇", "🥯", "🍕"],
    ["weekend-guide", "subway-changes", "ferry-map", "free-concerts"],
)

_MUSIC = Topic(
    [
        "{band} just announced a tour and I need a minute",
        "heard {band} live last night: {verdict}",
        "this {genre} playlist got me through {chore}",
        "unpopular opinion: the second {band} album is {verdict}",
        "learning the {instrument} at my age is {verdict}, thanks for asking",
        "new {genre} single out at midnight",
        "what is your favourite {genre} record of all time?",
        "somebody next door plays the {instrument} and is getting better",
        "found my old {instrument} in the attic, still out of tune",
    ],
    {
        "band": ["Paper Lanterns", "The Quiet Tides", "Velvet Orchard", "Nine Small Rooms", "Salt & Static"],
        "genre": ["jazz", "indie", "techno", "folk", "soul", "metal", "K-pop", "classical", "reggae", "ambient"],
        "instrument": ["guitar", "piano", "drums", "cello", "trumpet", "accordion", "banjo", "theremin"],
        "verdict": ["perfect", "a mistake", "underrated", "louder than expected", "the best thing ever"],
        "chore": ["the laundry", "my taxes", "a night shift", "nine hours on a bus", "the last exam"],
    },
    ["NowPlaying", "newmusic", "vinyl", "livemusic", "jazz", "KPop", "FridayFeeling"],
    ["🎶", "🎧", "🎸", "🎷", "🥁", "🎹"],
    ["album-review", "tour-dates", "studio-session", "best-of-the-year"],
)

_WEATHER = Topic(
    [
        "{sky} over {town} this morning",
        "forecast said {weather}. It is {weather}",
        "{weather} again in {town}, send {comfort}",
        "the {sky} tonight! Look up if you are near {town}",
        "power is out in half of {town} because of the {weather}",
        "day {number} of {weather}. The dog and I need {comfort}",
        "is it normal to have {weather} in {month}?",
    ],
    {
        "sky": ["fog", "a double rainbow", "pink clouds", "northern lights", "a full moon", "thunder"],
        "weather": ["rain", "sun", "snow", "wind", "hail", "a heat wave", "drizzle", "a storm", "ice"],
        "town": ["Portland", "Dublin", "Leeds", "Toronto", "Cape Town", "Perth", "Oslo", "Reykjavik", "Glasgow"],
        "comfort": ["tea", "soup", "an umbrella", "help", "warm socks", "sunscreen", "a boat"],
        "month": ["May", "October", "April", "January", "July"],
        "number": ["two", "three", "five", "nine", "seventeen"],
    },
    ["weather", "rain", "storm", "sunrise", "snowday", "clouds"],
    ["☔", "🌧️", "☀️", "🌈", "❄️", "🌪️", "⛈️"],
    ["radar", "storm-warning", "weekend-forecast", "pollen-count"],
)

_TECH = Topic(
    [
        "deployed on a Friday: {outcome}",
        "reading a {year} commit of mine and {outcome}",
        "{language} people: tabs, spaces, or {alternative}?",
        "the bug was a missing {culprit}. {number} hours",
        "today I learned that {language} has {feature}",
        "we replaced the {system} with a {system} and nobody noticed",
        "my {system} has more uptime than I do",
        "writing {language} before coffee is a {culprit} waiting to happen",
        "shipping v{number}.0 tonight: new {system}, better {feature}",
    ],
    {
        "outcome": ["it was fine", "I have questions", "never again", "send help", "I'd do it again"],
        "year": ["2014", "2017", "2009", "2020", "last week's"],
        "language": ["Python", "Rust", "SQL", "Go", "JavaScript", "Haskell", "Erlang", "C", "COBOL"],
        "alternative": ["chaos", "vertical bars", "three spaces", "a day job"],
        "culprit": ["comma", "semicolon", "time zone", "space", "cache", "byte order mark", "off-by-one"],
        "number": ["2", "3", "4", "6", "9", "11"],
        "feature": ["pattern matching", "sets", "streams", "error messages", "generators", "docs", "coroutines"],
        "system": ["queue", "database", "cron job", "spreadsheet", "load balancer", "message broker", "router"],
    },
    ["coding", "devops", "opensource", "python", "debugging", "100DaysOfCode", "rustlang"],
    ["💻", "🚀", "🐛", "🤖", "🧵", "⌨️"],
    ["release-notes", "postmortem", "getting-started", "why-queues", "benchmarks"],
)

_FOOD = Topic(
    [
        "{dish} for {meal}, no regrets",
        "my {relative}'s {dish} recipe, finally written down",
        "is {dish} a {meal} food? Asking for my {relative}",
        "put {spice} on your {dish}. Trust me",
        "the {dish} at the corner place is {verdict}",
        "burned the {dish} again, ordering {dish}",
        "sourdough day {number}: it is {verdict}",
    ],
    {
        "dish": ["soup", "tacos", "curry", "noodles", "pancakes", "risotto", "dumplings", "shakshuka", "pierogi"],
        "meal": ["breakfast", "dinner", "lunch", "brunch", "a midnight snack"],
        "relative": ["grandmother", "uncle", "neighbour", "sister", "flatmate"],
        "spice": ["chili", "cumin", "sumac", "lime", "za'atar", "smoked salt", "sesame"],
        "verdict": ["alive", "outstanding", "a bit much", "life-changing", "gone already"],
        "number": ["one", "four", "ten", "forty"],
    },
    ["foodie", "recipe", "baking", "vegan", "sourdough", "streetfood", "MealPrep"],
    ["🍜", "🌮", "🍞", "🥘", "🍰", "😋", "🌶️"],
    ["recipe", "market-guide", "knife-skills", "five-ingredients"],
)

_THOUGHTS = Topic(
    [
        "is it just me or is the {noun} getting {adjective}?",
        "nobody warned me that {noun} and {noun} would be so {adjective}",
        "today's mood: {adjective} {noun}",
        "a {adjective} {noun} is better than a {adjective} {noun}, every time",
        "I would like to return this {noun}, it is {adjective}",
        "small joys: {noun}, {noun}, a {adjective} {noun}",
        "thinking about that {adjective} {noun} from {time}",
        "you either love {noun} or you are {adjective}, there's no third way",
        "remember {time}, when every {noun} was {adjective}?",
    ],
    {
        "adjective": words(
            "good,new,quiet,strange,tiny,broken,golden,slow,bright,hungry,brave,gentle,loud,wooden,sleepy,"
            "polite,wild,soft,bitter,clever,crooked,distant,fancy,frozen,grumpy,hollow,"
            "jolly,lucky,mellow,nervous,purple,restless,salty,tidy,vivid,wobbly,woolly,zesty"
        ),
        "noun": words(
            "morning,book,train,garden,river,cat,window,letter,night,street,kitchen,summer,bicycle,island,coffee,"
            "winter,bridge,mirror,teacher,village,theatre,lamp,harbour,puzzle,painting,camera,forest,sandwich,"
            "keyboard,mountain,suitcase,orchestra,elevator,library,pancake,umbrella,lighthouse,penguin,balcony,"
            "notebook,carousel,telescope,avocado,hedgehog,postcard,typewriter,accordion,labyrinth,meteor,otter,"
            "marmalade,windmill,compass,dragonfly,lantern,walnut,trampoline,velvet,saxophone,igloo,kaleidoscope,"
            "marzipan,nutmeg,obelisk,quokka,rhubarb,samovar,turnip,ukulele,vestibule,wigwam,xylophone,yurt,zeppelin"
        ),
        "time": ["2016", "last summer", "school", "yesterday", "that one winter", "the nineties"],
    },
    ["MondayMotivation", "mood", "life", "books", "throwback", "smalljoys", "caturday"],
    ["😂", "😭", "✨", "🤔", "❤️", "👀", "🙃", "🫠", "👩🏽‍🚀", "🏳️‍🌈"],
    ["essay", "notes", "a-short-story", "gallery", "newsletter"],
)

TOPICS = [_THOUGHTS, _TECH, _MUSIC, FOOTBALL, _FOOD, _WEATHER]

CLOSERS = [
    "Thoughts?",
    "Who's with me?",
    "Anyway.",
    "I said what I said.",
    "Send help.",
    "No notes.",
    "More tomorrow.",
    "You heard it here first.",
    "Tell a friend.",
    "Still not over it.",
    "Good night.",
    "And it isn't even noon.",
    "Pictures soon.",
    "10/10.",
]
