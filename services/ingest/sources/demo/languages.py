"""What the demo's other authors say, in their own languages and scripts."""

from typing import NamedTuple

from services.ingest.sources.demo.english import Topic


class Language(NamedTuple):
    """A language of the demo."""

    weight: float
    """Its share of the posts, in percent."""
    topic: Topic
    names: list[str]
    """Display names of its authors."""
    edited: str
    """What its authors put before a correction."""


LANGUAGES = {
    "es": Language(
        9,
        Topic(
            [
                "qué {adj} está el día en {lugar}",
                "hoy toca {plan} con {gente} en {lugar}",
                "¿alguien más piensa que {plan} es {adj}?",
                "necesito {plan} y un café, en ese orden",
                "mañana salgo para {lugar}, ¡qué {adj}!",
            ],
            {
                "adj": ["bonito", "increíble", "raro", "mágico", "largo", "pequeño"],
                "lugar": ["Sevilla", "Bogotá", "Lima", "Oaxaca", "Montevideo", "Málaga"],
                "plan": ["paella", "cine", "playa", "fútbol", "una siesta", "música en vivo"],
                "gente": ["mis primos", "la abuela", "los vecinos", "nadie"],
            },
            ["FelizMartes", "música", "España", "fútbol", "BuenosDías"],
            ["😊", "🎉", "☕", "💃", "⚽"],
            ["noticias", "receta", "guía"],
        ),
        ["Lucía", "Mateo R.", "Abril", "Íñigo", "Candela V.", "Tomás"],
        "Corrección:",
    ),
    "pt": Language(
        7,
        Topic(
            [
                "bom dia, {lugar}! Hoje tem {coisa}",
                "não acredito que a {coisa} acabou",
                "saudade de {lugar} e da {coisa}",
                "alguém em {lugar} quer ver {coisa} comigo?",
            ],
            {
                "lugar": ["Recife", "Lisboa", "Salvador", "Porto", "Belém", "Curitiba"],
                "coisa": ["feijoada", "praia", "chuva", "exposição", "canção", "novela", "promoção"],
            },
            ["BomDia", "praia", "verão", "sextou", "Lisboa"],
            ["🌞", "🏖️", "🎊", "😍"],
            ["notícias", "receitas", "agenda"],
        ),
        ["João P.", "Inês", "Caetana", "Tiago", "Luísa M."],
        "Correção:",
    ),
    "ja": Language(
        8,
        Topic(
            [
                "今日は{place}で{food}を食べた",
                "{place}の{season}、最高すぎる",
                "新しい{thing}が届いた！うれしい",
                "{thing}の続きが気になって眠れない",
                "おはようございます。{place}は{season}の空です",
            ],
            {
                "place": ["東京", "京都", "札幌", "大阪", "鎌倉", "那覇"],
                "food": ["ラーメン", "カレー", "寿司", "たい焼き", "うどん"],
                "season": ["桜", "紅葉", "雨", "夏祭り", "雪"],
                "thing": ["漫画", "カメラ", "ゲーム", "本", "ギター"],
            },
            ["猫", "写真好きな人と繋がりたい", "ラーメン", "おはよう", "サッカー"],
            ["🌸", "🍜", "🐱", "🎮", "🗻"],
            ["news", "photo", "blog"],
        ),
        ["さくら", "ゆうき", "はると", "みお@絵描き", "そら"],
        "訂正：",
    ),
    "de": Language(
        5,
        Topic(
            [
                "schöne Grüße aus {ort}, hier ist es {adj}",
                "warum ist die {straße} schon wieder gesperrt?",
                "heute {essen} mit Soße, mehr brauche ich nicht",
                "großer Spaß auf der {straße} in {ort}",
                "weiß jemand, wo es in {ort} gutes {essen} gibt?",
            ],
            {
                "ort": ["Gießen", "Köln", "Leipzig", "Zürich", "Graz", "Meißen"],
                "adj": ["heiß", "gemütlich", "nass", "schön", "ruhig"],
                "straße": ["Hauptstraße", "Schloßstraße", "Bahnhofstraße", "Weißgerbergasse"],
                "essen": ["Brot", "Klöße", "Käsekuchen", "Eis", "Spätzle"],
            },
            ["Straße", "GutenMorgen", "Feierabend", "Fußball", "Tatort"],
            ["🥨", "☕", "⚽", "🌧️"],
            ["nachrichten", "rezept", "fahrplan"],
        ),
        ["Jürgen B.", "Maja", "Käthe", "Björn", "Anneliese"],
        "Korrektur:",
    ),
    "fr": Language(
        5,
        Topic(
            [
                "il fait {temps} à {ville}, on sort quand même",
                "qui veut {chose} ce soir à {ville} ?",
                "encore une grève, donc {chose}",
                "petit déjeuner : {chose} et rien d'autre",
            ],
            {
                "temps": ["beau", "gris", "froid", "une chaleur folle"],
                "ville": ["Lyon", "Nantes", "Montréal", "Dakar", "Liège", "Genève"],
                "chose": ["un café", "des crêpes", "du théâtre", "une baguette", "un bon livre"],
            },
            ["BonneJournée", "théâtre", "été", "cuisine", "TourDeFrance"],
            ["🥐", "☕", "🚲", "🎭"],
            ["actualités", "recette", "agenda"],
        ),
        ["Élodie", "Théo", "Aïcha", "François L.", "Noé"],
        "Erratum :",
    ),
    "ar": Language(
        5,
        Topic(
            [
                "صباح الخير من {city}",
                "ما أجمل {thing} في {city}",
                "هل قرأتم هذا عن {thing}؟",
                "اليوم {thing} مع الأصدقاء",
            ],
            {
                "city": ["القاهرة", "بيروت", "الرباط", "عمّان", "مسقط", "تونس"],
                "thing": ["القهوة", "المطر", "الموسيقى", "كرة القدم", "البحر", "الشعر"],
            },
            ["صباح_الخير", "قهوة", "شعر", "كرة_القدم"],
            ["☕", "🌙", "🌹", "⚽"],
            ["news", "culture"],
        ),
        ["ليلى", "عمر", "نور", "سلمى"],
        "تصحيح:",
    ),
    "he": Language(
        2,
        Topic(
            ["בוקר טוב מ{city}", "מי בא ל{thing} הערב?", "אין כמו {thing} ב{city}"],
            {
                "city": ["חיפה", "יפו", "באר שבע", "אילת"],
                "thing": ["קפה", "ים", "חומוס", "קולנוע", "הופעה"],
            },
            ["בוקר_טוב", "קפה", "מוזיקה"],
            ["☀️", "🌊", "☕"],
            ["news"],
        ),
        ["נועה", "איתי", "תמר"],
        "תיקון:",
    ),
    "hi": Language(
        4,
        Topic(
            [
                "आज {city} में {thing} का मज़ा ही अलग है",
                "{thing} के बिना सुबह अधूरी है",
                "क्या {city} में किसी ने नई {thing} देखी?",
            ],
            {
                "city": ["दिल्ली", "मुंबई", "जयपुर", "वाराणसी", "पटना"],
                "thing": ["चाय", "बारिश", "फ़िल्म", "किताब", "मिठाई"],
            },
            ["सुप्रभात", "चाय", "क्रिकेट", "बारिश"],
            ["☕", "🌧️", "🏏", "🙏"],
            ["samachar", "news"],
        ),
        ["आरव", "मीरा", "कबीर", "ईशा"],
        "सुधार:",
    ),
    "ko": Language(
        3,
        Topic(
            [
                "오늘 {city} 날씨 {adj}",
                "{food} 먹고 싶다",
                "{city}에서 {food} 맛집 추천해 주세요",
                "새 노래 {adj} 계속 듣는 중",
            ],
            {
                "city": ["서울", "부산", "제주", "전주"],
                "adj": ["최고", "너무 좋다", "대박", "별로"],
                "food": ["떡볶이", "김밥", "냉면", "비빔밥"],
            },
            ["일상", "맛집", "케이팝", "서울"],
            ["💜", "🍚", "🎤", "🌊"],
            ["news", "music"],
        ),
        ["유나", "민준", "하늘", "서연"],
        "정정:",
    ),
    "ru": Language(
        3,
        Topic(
            [
                "доброе утро, {city}! За окном {weather}",
                "читаю {thing} и не могу оторваться",
                "в {weather} хорошо дома, чай и {thing}",
            ],
            {
                "city": ["Казань", "Томск", "Алматы", "Рига", "Омск"],
                "weather": ["снег", "дождь", "туман", "солнце"],
                "thing": ["книгу", "стихи", "письма", "рассказы"],
            },
            ["доброе_утро", "книги", "осень", "чай"],
            ["❄️", "📚", "🫖"],
            ["novosti", "knigi"],
        ),
        ["Аня", "Илья", "Марфа", "Тимур"],
        "Исправлено:",
    ),
    "uk": Language(
        1,
        Topic(
            ["добрий ранок, {city}!", "їмо {food} і слухаємо {thing}", "хто сьогодні в {city}?"],
            {
                "city": ["Львів", "Одеса", "Полтава", "Чернівці"],
                "food": ["борщ", "вареники", "сирники"],
                "thing": ["дощ", "джаз", "ластівок"],
            },
            ["ранок", "їжа", "музика"],
            ["🌻", "🥟", "🎶"],
            ["novyny"],
        ),
        ["Оксана", "Юрко", "Соломія"],
        "Виправлено:",
    ),
    "tr": Language(
        2,
        Topic(
            [
                "günaydın {city}, bugün {thing} var",
                "{city} sokaklarında {thing} güzel olur",
                "İyi ki {thing} var",
            ],
            {
                "city": ["İzmir", "Eskişehir", "Ağrı", "Muğla"],
                "thing": ["çay", "simit", "yağmur", "müzik", "kahvaltı"],
            },
            ["günaydın", "İzmir", "çay", "futbol"],
            ["☕", "🌊", "🐈"],
            ["haber", "tarif"],
        ),
        ["Işıl", "Çağrı", "Gülşah"],
        "Düzeltme:",
    ),
}

ENGLISH_NAMES = [
    "Robin K.",
    "Sam",
    "Ada May",
    "June 🌿",
    "Theo Park",
    "the night librarian",
    "Casey",
    "Wren O'Dell",
    "Imani",
    "Big Al's Kitchen",
    "Priya S.",
    "marlowe",
]
